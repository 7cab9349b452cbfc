from .features import load_images
from .model_zoo import get_model
from .publish import publish_model

__all__ = ['get_model', 'load_images', 'publish_model']

from .features import load_images
from .model_zoo import get_model
from .publish import publish_model
from .reid_index import ReIDIndex
from .verification import match

__all__ = ['ReIDIndex', 'get_model', 'load_images', 'match', 'publish_model']

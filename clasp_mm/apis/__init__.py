from .features import load_images
from .model_hub import register_with_mmpretrain
from .model_zoo import get_model
from .publish import publish_model
from .reid_index import ReIDIndex
from .verification import match
from .zoo_index import list_models

__all__ = ['ReIDIndex', 'get_model', 'list_models', 'load_images', 'match', 'publish_model',
           'register_with_mmpretrain']

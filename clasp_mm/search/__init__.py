"""Search a folder of images by words, attributes or a picture; ``clasp search``."""

from .index import Encoder, FeatureIndex, Update, backbone_encoder, clip_encoder
from .query import Part, parse_query, read_attributes
from .rank import Found, Hit, search_images

__all__ = ['Encoder', 'FeatureIndex', 'Found', 'Hit', 'Part', 'Update', 'backbone_encoder',
           'clip_encoder', 'parse_query', 'read_attributes', 'search_images']

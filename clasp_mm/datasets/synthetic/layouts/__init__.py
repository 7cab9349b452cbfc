"""Synthetic people in the layouts that the host libraries' data sets read."""

from .citypersons import write_citypersons
from .coco import write_coco_keypoints
from .lip import write_lip
from .market1501 import write_market1501

__all__ = ['write_citypersons', 'write_coco_keypoints', 'write_lip', 'write_market1501']

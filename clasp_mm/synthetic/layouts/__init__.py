"""Synthetic people in the layouts that the data sets of the host libraries and of this one read."""

from .citypersons import write_citypersons
from .coco import write_coco_keypoints
from .cuhk_sysu import write_cuhk_sysu
from .lip import write_lip
from .market1501 import write_market1501
from .pa100k import write_pa100k

__all__ = ['write_citypersons', 'write_coco_keypoints', 'write_cuhk_sysu', 'write_lip',
           'write_market1501', 'write_pa100k']

from .attr_head import AttrHead
from .dino_head import DINOHead
from .part_seg_head import PartSegHead

__all__ = ['AttrHead', 'DINOHead', 'PartSegHead']

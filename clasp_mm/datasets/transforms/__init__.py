from .clip_pseudo_labeler import CLIPPseudoLabeler
from .multi_crop import MultiCrop
from .packing import PackViews

__all__ = ['CLIPPseudoLabeler', 'MultiCrop', 'PackViews']

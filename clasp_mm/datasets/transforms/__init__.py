from .check_label_map import CheckLabelMap
from .clip_pseudo_labeler import CLIPPseudoLabeler
from .multi_crop import MultiCrop
from .packing import PackViews
from .person_affine import PersonAffine
from .placeholder_labels import PlaceholderLabels

__all__ = ['CLIPPseudoLabeler', 'CheckLabelMap', 'MultiCrop', 'PackViews', 'PersonAffine',
           'PlaceholderLabels']

from .luperson import LUPerson
from .transforms import CLIPPseudoLabeler, MultiCrop, PackViews

__all__ = ['CLIPPseudoLabeler', 'LUPerson', 'MultiCrop', 'PackViews']

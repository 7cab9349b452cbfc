from .array_sampler import ArraySampler
from .luperson import LUPerson
from .resumable_sampler import ResumableSampler
from .transforms import CLIPPseudoLabeler, MultiCrop, PackViews

__all__ = ['ArraySampler', 'CLIPPseudoLabeler', 'LUPerson', 'MultiCrop', 'PackViews',
           'ResumableSampler']

from .array_sampler import ArraySampler, ResumableSampler
from .attribute import AttributeDataset
from .identity_sampler import IdentitySampler
from .luperson import LUPerson
from .reid import MSMT17, Market1501, ReIDFolder, ReIDTable
from .transforms import CLIPPseudoLabeler, MultiCrop, PackViews, PlaceholderLabels

__all__ = ['MSMT17', 'ArraySampler', 'AttributeDataset', 'CLIPPseudoLabeler', 'IdentitySampler',
           'LUPerson', 'Market1501', 'MultiCrop', 'PackViews', 'PlaceholderLabels',
           'ReIDFolder', 'ReIDTable',
           'ResumableSampler']

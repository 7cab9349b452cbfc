"""Models: backbones, heads, losses and pretraining algorithms."""

from .backbones import PCMoESwin
from .heads import AttrHead, DINOHead, PartSegHead
from .pretrain import CLASP, DINO
from .reid import ReIDHead

__all__ = ['CLASP', 'DINO', 'AttrHead', 'DINOHead', 'PCMoESwin', 'PartSegHead', 'ReIDHead']

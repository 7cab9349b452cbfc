"""Models: backbones, heads, losses and pretraining algorithms."""

from .attribute import AttributeHead
from .backbones import PCMoESwin, SemanticSwin
from .heads import AttrHead, DINOHead, PartSegHead
from .pretrain import CLASP, DINO, SOLIDER
from .reid import ReIDHead
from .weights.initializer import Pretrained

__all__ = ['CLASP', 'DINO', 'SOLIDER', 'AttrHead', 'AttributeHead', 'DINOHead', 'PCMoESwin',
           'PartSegHead', 'Pretrained', 'ReIDHead', 'SemanticSwin']

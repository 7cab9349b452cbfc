"""Backbones."""

from .pcmoe_swin import Embedded, PCMoESwin
from .semantic_swin import SemanticSwin

__all__ = ['Embedded', 'PCMoESwin', 'SemanticSwin']

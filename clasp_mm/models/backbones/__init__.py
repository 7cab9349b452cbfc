"""Backbones."""

from .branched import forward_tasks
from .pcmoe_swin import Embedded, PCMoESwin
from .semantic_swin import SemanticSwin

__all__ = ['Embedded', 'PCMoESwin', 'SemanticSwin', 'forward_tasks']

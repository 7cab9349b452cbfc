"""Backbones."""

from .pcmoe_swin import Embedded, PCMoESwin

__all__ = ['Embedded', 'PCMoESwin']

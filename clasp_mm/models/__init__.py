"""Models: backbones, heads, losses and pretraining algorithms."""

from .backbones import PCMoESwin

__all__ = ['PCMoESwin']

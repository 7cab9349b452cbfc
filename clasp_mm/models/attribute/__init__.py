"""Pedestrian attribute recognition."""

from .attribute_head import AttributeHead, attribute_loss

__all__ = ['AttributeHead', 'attribute_loss']

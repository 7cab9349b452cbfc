"""Pedestrian detection; needs mmdet, so a config names this package in ``custom_imports``."""

from .csp_head import CSPHead
from .csp_neck import CSPNeck
from .csp_targets import CSPTargets, csp_targets

__all__ = ['CSPHead', 'CSPNeck', 'CSPTargets', 'csp_targets']

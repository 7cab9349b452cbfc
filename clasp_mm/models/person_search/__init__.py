"""Person search; needs mmdet, so a config names this package in ``custom_imports``."""

from .nae_head import NAEHead
from .seq_roi_head import SeqRoIHead
from .seqnet import SeqNet, UpcastRPNHead
from .swin_stage import LastStage

__all__ = ['LastStage', 'NAEHead', 'SeqNet', 'SeqRoIHead', 'UpcastRPNHead']

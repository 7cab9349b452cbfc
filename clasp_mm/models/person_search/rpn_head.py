"""The proposals' head under automatic mixed precision."""

from mmdet.models.dense_heads import RPNHead
from torch import Tensor

from clasp_mm.registry import MODELS

from ..losses import upcast


@MODELS.register_module()
class UpcastRPNHead(RPNHead):
    """mmdet's RPNHead with outputs in float32, which mmcv's NMS needs on a CPU."""

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and deltas (B, A, H, W) and (B, 4A, H, W) of one map (B, C, H, W)."""
        scores, deltas = super().forward_single(x)
        return upcast(scores), upcast(deltas)

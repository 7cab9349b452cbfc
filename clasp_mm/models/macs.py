"""Multiply-adds of a backbone."""

import warnings
from typing import Any

import torch
from mmengine.analysis import FlopAnalyzer
from torch import nn

from .backbones import SemanticSwin


class OneMap(nn.Module):
    """A backbone without its gates, under one prompt or semantic weight."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.task = 'appearance' if getattr(backbone, 'has_moe', False) else None
        if isinstance(backbone, SemanticSwin):
            self.task = 0.

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.backbone(x, self.task)[-1]


def count_macs(model: nn.Module, images: torch.Tensor) -> int:
    """Multiply-adds of a forward pass, as mmengine's (fvcore's) analyser counts them.

    One fused multiply-add is one; twice that is what others call FLOPs. Products of matrices and
    convolutions count, element-wise operations and softmax do not.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')  # tracing tells of every Python branch
        analyzer = FlopAnalyzer(model.eval(), (images,))
        analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        analyzer.tracer_warnings('none')
        analyzer.set_op_handle('aten::baddbmm', _baddbmm_macs)
        return int(analyzer.total())


def _baddbmm_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """Of ``c + a @ b``: (B, n, k) times (B, k, m)."""
    batch, rows, inner = inputs[1].type().sizes()
    return batch * rows * inner * inputs[2].type().sizes()[2]

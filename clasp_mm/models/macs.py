"""Parameters and multiply-adds of a backbone."""

import math
from typing import Any

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from torch import nn

from clasp_mm.registry import MODELS

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
    """Multiply-adds of a forward pass, by mmengine's (fvcore's) analyser.

    One fused multiply-add is one; twice that is what others call FLOPs. Products of matrices,
    those of attention too, and convolutions count; element-wise operations, norms and softmax do
    not.
    """
    with torch.no_grad():
        analyzer = FlopAnalyzer(model.eval(), (images,))
        analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        analyzer.tracer_warnings('none')
        analyzer.set_op_handle('aten::baddbmm', _baddbmm_macs, 'aten::layer_norm', _none,
                               'aten::scaled_dot_product_attention', _attention_macs)
        return int(analyzer.total())


def config_cost(cfg: Config, size: str) -> tuple[int, int]:
    """Count a config's backbone.

    Args:
        cfg: The config.
        size: Height x width of the image, as '256x128'.

    Returns:
        Parameters, and multiply-adds of a forward pass of one image under one prompt.
    """
    height, width = map(int, size.split('x'))
    model = OneMap(MODELS.build(dict(cfg.model.backbone, init_cfg=None)))
    macs = count_macs(model, torch.randn(1, 3, height, width))
    return sum(parameter.numel() for parameter in model.parameters()), macs


def _none(inputs: list[Any], outputs: list[Any]) -> int:
    """Of a norm, which the analyser counts unless told otherwise."""
    return 0


def _baddbmm_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """Of ``c + a @ b``: (B, n, k) times (B, k, m)."""
    batch, rows, inner = inputs[1].type().sizes()
    return batch * rows * inner * inputs[2].type().sizes()[2]


def _attention_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """Of ``softmax(q k^T) v``: queries (..., n, e), keys (..., m, e) and values (..., m, f)."""
    (*batch, rows, inner), (*_, keys, _), (*_, width) = (
        value.type().sizes() for value in inputs[:3])
    return math.prod(batch) * rows * keys * (inner + width)

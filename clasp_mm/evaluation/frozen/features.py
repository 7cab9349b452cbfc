"""Features of image files by a frozen backbone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from clasp_mm.datasets.inputs import batches


@torch.inference_mode()
def pooled_features(backbone: nn.Module, paths: Sequence[str], size: tuple[int, int],
                    task: str | None = None) -> np.ndarray:
    """Mean over the last map of each image, (N, C) float32."""
    device = next(backbone.parameters()).device
    return np.concatenate([backbone(images, task)[-1].mean((2, 3)).cpu().numpy()
                           for images in batches(paths, size, device)])


@torch.inference_mode()
def dense_features(backbone: nn.Module, paths: Sequence[str], size: tuple[int, int],
                   task: str | None = None) -> np.ndarray:
    """All maps of the backbone raised to the size of its first and stacked, (N, C, h, w)."""
    device = next(backbone.parameters()).device
    stacked = []
    for images in batches(paths, size, device):
        maps = backbone(images, task)
        raised = [F.interpolate(m, maps[0].shape[-2:], mode='bilinear') for m in maps]
        stacked.append(torch.cat(raised, 1).cpu().numpy())
    return np.concatenate(stacked)

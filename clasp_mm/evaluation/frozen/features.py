"""Features of image files by a frozen backbone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clasp_mm.datasets.inputs import batches


@torch.inference_mode()
def pooled_features(backbone: nn.Module, paths: Sequence[str], size: tuple[int, int],
                    task: str | None = None) -> np.ndarray:
    """Mean over the last map of each image, (N, C) float32."""
    return np.concatenate([maps[-1].mean((2, 3)).cpu().numpy()
                           for maps in _maps(backbone, paths, size, task)])


@torch.inference_mode()
def dense_features(backbone: nn.Module, paths: Sequence[str], size: tuple[int, int],
                   task: str | None = None) -> np.ndarray:
    """All maps of the backbone raised to the size of its first and stacked, (N, C, h, w)."""
    stacked = []
    for maps in _maps(backbone, paths, size, task):
        raised = [F.interpolate(m, maps[0].shape[-2:], mode='bilinear') for m in maps]
        stacked.append(torch.cat(raised, 1).cpu().numpy())
    return np.concatenate(stacked)


def _maps(backbone: nn.Module, paths: Sequence[str], size: tuple[int, int],
          task: str | None) -> Iterator[Sequence[Tensor]]:
    device = next(backbone.parameters()).device
    for images in batches(paths, size, device):
        yield backbone(images, task)

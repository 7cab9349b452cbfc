"""Features of some images under many prompts."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from clasp_mm.datasets.images import read_images, resize_images
from clasp_mm.datasets.inputs import normalize
from clasp_mm.models import PCMoESwin

_CELLS = 64  # tokens of an image that probes see, about


def load_readable(paths: Sequence[str], size: tuple[int, int]
                  ) -> tuple[Tensor, np.ndarray, list[tuple[int, int]], list[str]]:
    """Images that can be read.

    Returns:
        (n, 3, H, W) uint8 RGB; their rows, (n,); their sizes (H_i, W_i) as they were; and what is
        wrong with the others, by name.
    """
    images, rows, sizes, faults = [torch.empty(0, 3, *size, dtype=torch.uint8)], [], [], []
    for row, image in read_images(paths, faults):
        images.append(resize_images([image], size))
        sizes.append(image.shape[:2])
        rows.append(row)
    return torch.cat(images), np.array(rows, np.int64), sizes, faults


def token_grid(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the tokens that are probed: the first map's, or about 64 in all."""
    rows, columns = (math.ceil(side / 4) for side in size)
    scale = min(1., math.sqrt(_CELLS / (rows * columns)))
    return max(1, round(rows * scale)), max(1, round(columns * scale))


@torch.inference_mode()
def prompt_features(backbone: PCMoESwin, images: Tensor, tasks: Sequence[Any],
                    grid: tuple[int, int] | None = None, batch_size: int = 32,
                    progress: bool = True) -> list[np.ndarray]:
    """What a backbone makes of images under each of some prompts; what none touches is run once.

    Args:
        backbone: Backbone in evaluation mode.
        images: (N, 3, H, W) uint8 RGB.
        tasks: Prompts, each as the ``task`` of :class:`PCMoESwin`.
        grid: (h, w) of the tokens; None pools the last map.
        batch_size: Images per forward.
        progress: Show a bar.

    Returns:
        Of each prompt the mean over the last map, (N, C) float32, or all maps at the cells of the
        grid, (N, h * w, C) float16.
    """
    device = next(backbone.parameters()).device
    found: list[list[np.ndarray]] = [[] for _ in tasks]
    steps = range(0, len(images), batch_size)
    for start in tqdm(steps, desc='features', unit='batch', disable=not progress):
        batch = normalize(images[start:start + batch_size].to(device), backbone)
        embedded = backbone.embed(batch)
        for task, own in zip(tasks, found, strict=True):
            maps = backbone.from_embed(embedded, task)[0]
            made = maps[-1].float().mean((2, 3)) if grid is None else _tokens(maps, grid)
            own.append(made.cpu().numpy())
    return [np.concatenate(parts) for parts in found]


def _tokens(maps: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
    sampled = [F.interpolate(one.float(), grid, mode='bilinear') for one in maps]
    return torch.cat(sampled, 1).flatten(2).transpose(1, 2).half()              # (B, h * w, C)

"""Features of some images under many prompts, cached on disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from clasp_mm.datasets.images import read_images, resize_images
from clasp_mm.datasets.inputs import normalize
from clasp_mm.models import PCMoESwin
from clasp_mm.models.backbones.prompt_tree import Prompts, forward_tree

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


class PromptFeatures:
    """What a backbone makes of images under many prompts.

    All prompts are run as one tree, and each map of it is kept once, in a file: pooled, or sampled
    at the cells of a grid (float16).

    Args:
        backbone: In evaluation mode; what it puts out is kept.
        images: (N, 3, H, W) uint8 RGB.
        prompts: What its stages are told, see :mod:`clasp_mm.models.backbones.prompt_tree`.
        folder: Where the files go.
        grid: (h, w) of the tokens; None pools the last map.
        batch_size: Images per forward.
        progress: Show a bar.
    """

    def __init__(self, backbone: PCMoESwin, images: Tensor, prompts: Sequence[Prompts],
                 folder: Path, grid: tuple[int, int] | None = None, batch_size: int = 32,
                 progress: bool = True) -> None:
        self.grid, self.stages = grid, backbone.out_indices
        self._files: dict[Prompts, np.memmap] = {}
        device = next(backbone.parameters()).device
        steps = range(0, len(images), batch_size)
        with torch.inference_mode():
            for start in tqdm(steps, desc='features', unit='batch', disable=not progress):
                batch = normalize(images[start:start + batch_size].to(device))
                for told, maps in forward_tree(backbone, batch, prompts):
                    if grid is None and len(told) - 1 != max(self.stages):
                        continue
                    kept = self._reduced(maps)
                    self._file(told, folder, (len(images), *kept.shape[1:]))[
                        start:start + len(kept)] = kept.cpu().numpy()

    def pooled(self, prompts: Prompts) -> np.ndarray:
        """Mean over the last map, (N, C) float32."""
        return np.array(self._files[prompts[:max(self.stages) + 1]])

    def tokens(self, prompts: Prompts) -> np.ndarray:
        """All maps at the cells of the grid, (N, h * w, C) float32."""
        maps = [torch.from_numpy(np.array(self._files[prompts[:i + 1]], np.float32))
                for i in self.stages]
        stacked = torch.cat([self._sampled(m) for m in maps], 1)
        return stacked.flatten(2).transpose(1, 2).numpy()

    def _reduced(self, maps: Tensor) -> Tensor:
        if self.grid is None:
            return maps.float().mean((2, 3))
        coarse = maps.shape[2] * maps.shape[3] <= math.prod(self.grid)
        return (maps if coarse else self._sampled(maps)).half()

    def _sampled(self, maps: Tensor) -> Tensor:
        return F.interpolate(maps.float(), self.grid, mode='bilinear')

    def _file(self, told: Prompts, folder: Path, shape: tuple[int, ...]) -> np.memmap:
        if told not in self._files:
            self._files[told] = np.lib.format.open_memmap(
                folder / f'{len(self._files)}.npy', 'w+', np.float32 if self.grid is None
                else np.float16, shape)
        return self._files[told]

"""Images of any size to a batch."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor


def resize_images(images: Sequence[np.ndarray], size: tuple[int, int]) -> Tensor:
    """Bring images (H_i, W_i, 3) uint8 BGR to one size: (B, 3, H, W) uint8 RGB."""
    batch = np.empty((len(images), *size, 3), np.uint8)
    for row, image in zip(batch, images, strict=True):
        shrinks = image.shape[0] > size[0]
        row[:] = cv2.resize(image, size[::-1],
                            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return torch.from_numpy(batch).permute(0, 3, 1, 2).flip(1)

"""Image files as the backbones want them."""

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor

from .images import read_image, resize_images
from .readable import ImageSource, readable_batches

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


def normalize(images: Tensor) -> Tensor:
    """Images (B, 3, H, W) uint8 RGB with ImageNet's mean and deviation, float32."""
    mean, std = _statistics(images.device)
    return (images.float() - mean) / std


@lru_cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation (3, 1, 1) on a device, copied once: a copy waits for the GPU."""
    with torch.inference_mode(False):
        mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (MEAN, STD))
        return mean, std


def load_images(paths: Sequence[str | os.PathLike], size: tuple[int, int] = (256, 128)) -> Tensor:
    """Read image files as the backbones want them.

    Args:
        paths: Image files.
        size: (H, W) in pixels.

    Returns:
        (B, 3, H, W) float32, RGB with ImageNet's mean and deviation.

    Raises:
        clasp_mm.datasets.images.UnreadableImageError: If a file cannot be read; names it.

    Example:
        >>> load_images(['people/0.jpg', 'people/1.jpg'], size=(64, 32)).shape
        torch.Size([2, 3, 64, 32])
    """
    return normalize(torch.cat([resize_images([read_image(path)], size) for path in paths]))


def batches(paths: Sequence[str], size: tuple[int, int], device: torch.device,
            batch_size: int = 64) -> Iterator[Tensor]:
    """Yield the images of ``paths`` in batches on the device."""
    for start in range(0, len(paths), batch_size):
        yield load_images(paths[start:start + batch_size], size).to(device)


def input_batches(source: ImageSource, rows: Sequence[int], size: tuple[int, int],
                  device: torch.device, batch_size: int = 64
                  ) -> Iterator[tuple[list[int], Tensor, list[str]]]:
    """Yield rows of a source in batches on the device, without those that cannot be read.

    Yields:
        The rows that could be read, their images (n, 3, H, W), empty where there is none, and
        what is wrong with the others, by name.
    """
    cuts = [rows[start:start + batch_size] for start in range(0, len(rows), batch_size)]
    for kept, images, faults in readable_batches(source, cuts, partial(resize_images, size=size)):
        yield kept, normalize(images.to(device)) if kept else images, faults

"""Image files as the backbones want them."""

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor, nn

from .images import read_image, resize_images
from .readable import ImageSource, readable_batches

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


def statistics(model: nn.Module | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """A model's ``mean`` and ``std`` of RGB pixels; ImageNet's where it has none."""
    return getattr(model, 'mean', MEAN), getattr(model, 'std', STD)


def normalize(images: Tensor, model: nn.Module | None = None) -> Tensor:
    """Images (B, 3, H, W) uint8 RGB by a model's :func:`statistics`, float32."""
    mean, std = (_on_device(values, images.device) for values in statistics(model))
    return (images.float() - mean) / std


@lru_cache
def _on_device(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Values (3, 1, 1) on a device, copied once: a copy waits for the GPU."""
    with torch.inference_mode(False):
        return torch.tensor(values, device=device)[:, None, None]


def load_images(paths: str | os.PathLike | Sequence[str | os.PathLike],
                size: tuple[int, int] = (256, 128), model: nn.Module | None = None) -> Tensor:
    """Read image files as the backbones want them.

    Args:
        paths: Image files, or one.
        size: (H, W) in pixels.
        model: Backbone of :func:`clasp_mm.get_model` whose ``mean`` and ``std`` are taken;
            ImageNet's by default.

    Returns:
        (B, 3, H, W) float32, normalised RGB.

    Raises:
        clasp_mm.datasets.images.UnreadableImageError: If a file cannot be read; names it.
        ValueError: If there is no file.

    Example:
        >>> load_images(['people/0.jpg', 'people/1.jpg'], size=(64, 32)).shape
        torch.Size([2, 3, 64, 32])
    """
    files = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not files:
        raise ValueError(f'paths={paths!r} names no image: give one file or more')
    images = torch.cat([resize_images([read_image(path)], size) for path in files])
    return normalize(images, model)


def batches(paths: Sequence[str], size: tuple[int, int], model: nn.Module,
            batch_size: int = 64) -> Iterator[Tensor]:
    """Yield the images of ``paths`` in batches as a model wants them, on its device."""
    device = next(model.parameters()).device
    for start in range(0, len(paths), batch_size):
        yield load_images(paths[start:start + batch_size], size, model).to(device)


def input_batches(source: ImageSource, rows: Sequence[int], size: tuple[int, int],
                  model: nn.Module, batch_size: int = 64
                  ) -> Iterator[tuple[list[int], Tensor, list[str]]]:
    """Yield rows of a source in batches as a model wants them, on its device.

    Those that cannot be read are left out.

    Yields:
        The rows that could be read, their images (n, 3, H, W), empty where there is none, and
        what is wrong with the others, by name.
    """
    device = next(model.parameters()).device
    cuts = [rows[start:start + batch_size] for start in range(0, len(rows), batch_size)]
    for kept, images, faults in readable_batches(source, cuts, partial(resize_images, size=size)):
        yield kept, normalize(images.to(device), model) if kept else images, faults

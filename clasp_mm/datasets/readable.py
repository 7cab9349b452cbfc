"""Batches of the images of a source that can be read, by worker processes."""

from collections.abc import Callable, Sequence
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .images import UnreadableImageError


class ImageSource(Protocol):
    """A list of images; ``clasp_mm.LUPerson`` is one.

    ``names`` are the images' names in order; ``load(i)['img']`` is an image, (H, W, 3) uint8 BGR,
    or raises UnreadableImageError, which names it.
    """

    names: Sequence[str]

    def load(self, index: int) -> dict: ...


class _Batches(Dataset):
    """Of each batch the rows that can be read, their images as prepared, and what is wrong."""

    def __init__(self, source: ImageSource, prepare: Callable[[list[np.ndarray]], Tensor]) -> None:
        self.source, self.prepare = source, prepare

    def __getitem__(self, rows: Sequence[int]) -> tuple[list[int], Tensor, list[str]]:
        kept, images, faults = [], [], []
        for row in rows:
            try:
                images.append(self.prepare([self.source.load(int(row))['img']]))
                kept.append(int(row))
            except UnreadableImageError as error:
                faults.append(str(error))
        return kept, torch.cat(images) if images else torch.empty(0), faults


def aligned_batches(rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Ascending rows in batches, cut where any other choice of rows is cut: at multiples."""
    cuts = np.flatnonzero(np.diff(rows // batch_size)) + 1
    return [batch for batch in np.split(rows, cuts) if len(batch)]


def readable_batches(source: ImageSource, batches: Sequence[Sequence[int]],
                     prepare: Callable[[list[np.ndarray]], Tensor], num_workers: int = 0,
                     pin_memory: bool = False) -> DataLoader:
    """Read images in batches; one that cannot be read is missing in its batch.

    Args:
        source: The images.
        batches: Rows of each batch.
        prepare: Makes a tensor (1, ...) of one image in a list, (H, W, 3) uint8 BGR, in the
            processes that read.
        num_workers: Processes that read, at most.
        pin_memory: For images that go to a GPU.

    Returns:
        Of each batch the rows that could be read, what ``prepare`` made of them, (n, ...), and
        what is wrong with the others, by name.
    """
    return DataLoader(_Batches(source, prepare), sampler=batches, batch_size=None,
                      num_workers=min(num_workers, len(batches)),
                      worker_init_fn=_one_thread, pin_memory=pin_memory)


def _one_thread(_: int) -> None:
    """Let a worker process compute with one thread."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)

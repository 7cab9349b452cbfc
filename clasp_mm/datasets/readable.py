"""Batches of the images of a source that can be read, by worker processes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .images import UnreadableImageError, resize_images
from .luperson import LUPerson


class _Batches(Dataset):
    """Readable images of some rows, (n, 3, H, W) uint8 RGB, their rows, and the other names."""

    def __init__(self, source: LUPerson, size: tuple[int, int]) -> None:
        self.source, self.size = source, size

    def __getitem__(self, rows: Sequence[int]) -> tuple[list[int], Tensor, list[str]]:
        kept, images, faults = [], [], []
        for row in rows:
            try:
                images.append(resize_images([self.source.load(row)['img']], self.size))
                kept.append(row)
            except UnreadableImageError as error:
                faults.append(str(error))
        return kept, torch.cat(images) if images else torch.empty(0, 3, *self.size), faults


def readable_batches(source: LUPerson, rows: Sequence[int], size: tuple[int, int],
                     batch_size: int = 64, num_workers: int = 0, pin_memory: bool = False
                     ) -> DataLoader:
    """Read images in batches; one that cannot be read is missing in its batch.

    Args:
        source: The images.
        rows: Which of them, in order.
        size: (H, W) to which they are brought.
        batch_size: Rows in a batch.
        num_workers: Processes that read, at most.
        pin_memory: For images that go to a GPU.

    Returns:
        Of each batch the rows that could be read, their images (n, 3, H, W) uint8 RGB, and what is
        wrong with the others, by name.
    """
    batches = [rows[start:start + batch_size] for start in range(0, len(rows), batch_size)]
    return DataLoader(_Batches(source, size), sampler=batches, batch_size=None,
                      num_workers=min(num_workers, len(batches)), collate_fn=as_is,
                      worker_init_fn=one_thread, pin_memory=pin_memory)


def as_is(batch: tuple) -> tuple:
    """Collate nothing: what the data set gives is a batch."""
    return batch


def one_thread(_: int) -> None:
    """Let a worker process compute with one thread."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)

"""The order of millions of images, without an object for each, entered at any point."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from mmengine.dataset import DefaultSampler

from clasp_mm.registry import DATA_SAMPLERS

_CHUNK = 1 << 16


@DATA_SAMPLERS.register_module()
class ArraySampler(DefaultSampler):
    """MMEngine's ``DefaultSampler``: the same order, kept in an array instead of lists.

    Of an epoch of 4.18 M images a process holds at most 33 MB at its start, and then its own
    share; the lists of the original are several times as large.

    It can begin inside an epoch, for ``clasp_mm.ExactResumeHook``: the images behind the first
    ``start`` of the order, which is the same for any number of processes, are shared out anew.
    """

    start: int = 0

    @property
    def remaining(self) -> int:
        """Images of the epoch that this process has before it."""
        return len(self._places())

    def __iter__(self) -> Iterator[int]:
        count = len(self.dataset)
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order = torch.randperm(count, generator=generator)
        else:
            order = torch.arange(count)
        places = self._places()
        own = torch.arange(places.stop)[places.start::places.step]
        order = order[own % count]
        for chunk in order.split(_CHUNK):
            yield from chunk.tolist()

    def _places(self) -> range:
        """Where this process's images are in the order; behind its end, it begins again."""
        left = max(len(self.dataset) - self.start, 0)
        if self.round_up:
            left += -left % self.world_size
        return range(self.start + self.rank, self.start + left, self.world_size)


class Visit(int):
    """An image's index, and what its random draws depend on.

    It is an index to any data set. Those of clasp_mm seed NumPy's draws, which all of their
    transforms use, from it (:meth:`seed_draws`).

    Attributes:
        seed: Of the run.
        epoch: Of the visit.
        repeat: How often the epoch has visited the image before.
    """

    seed: int
    epoch: int
    repeat: int

    def __new__(cls, index: int, seed: int, epoch: int, repeat: int = 0) -> Visit:
        visit = super().__new__(cls, index)
        visit.seed, visit.epoch, visit.repeat = seed, epoch, repeat
        return visit

    def __getnewargs__(self) -> tuple[int, int, int, int]:
        return int(self), self.seed, self.epoch, self.repeat

    def seed_draws(self) -> None:
        """Seed NumPy's global draws."""
        np.random.seed((self.seed, self.epoch, self, *([self.repeat] if self.repeat else ())))


@DATA_SAMPLERS.register_module()
class ResumableSampler(ArraySampler):
    """MMEngine's ``DefaultSampler`` that yields :class:`Visit` and can begin inside an epoch.

    The views of an image then depend on seed, epoch and index alone: not on the number of
    processes or workers, nor on what was drawn before.
    """

    def __iter__(self) -> Iterator[Visit]:
        for index in super().__iter__():
            yield Visit(index, self.seed, self.epoch)

"""An order of images that can be entered at any point, with the draws of every visit."""

from __future__ import annotations

from collections.abc import Iterator

from clasp_mm.registry import DATA_SAMPLERS

from .array_sampler import ArraySampler


class Visit(int):
    """An image's index, and what its random draws depend on.

    It is an index to any data set; :class:`~clasp_mm.datasets.LUPerson` also seeds NumPy's draws,
    which all of its transforms use, from ``(seed, epoch, index)``.
    """

    seed: int
    epoch: int

    def __new__(cls, index: int, seed: int, epoch: int) -> Visit:
        visit = super().__new__(cls, index)
        visit.seed, visit.epoch = seed, epoch
        return visit

    def __getnewargs__(self) -> tuple[int, int, int]:
        return int(self), self.seed, self.epoch


@DATA_SAMPLERS.register_module()
class ResumableSampler(ArraySampler):
    """MMEngine's ``DefaultSampler`` that yields :class:`Visit` and can begin inside an epoch.

    The views of an image then depend on seed, epoch and index alone: not on the number of
    processes or workers, nor on what was drawn before.
    """

    def __iter__(self) -> Iterator[Visit]:
        for index in super().__iter__():
            yield Visit(index, self.seed, self.epoch)

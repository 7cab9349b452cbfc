"""Draw one split of a data set."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..scene import SceneRecord, draw_scene
from ..shards import draw_in_shards, drawing_code

SPLITS = ('train', 'val')
_FIRST_SEED = 1 << 20  # pretraining data are usually drawn from small seeds
_SEEDS = 1 << 29
_SHARD = 16  # images that are drawn, and after a kill redrawn, together


@dataclass(frozen=True)
class Split:
    """One split of a synthetic data set.

    Args:
        out_dir: The data root; the other split may lie there too.
        name: ``'train'``, ``'val'`` or, where ``names`` has it, ``'test'``. They share no person
            and no background.
        num_images: How many pictures, or crops of one person each.
        seed: 0 <= seed < 2**29; another seed shares no person and no background either.
        size: Height and width of the pictures in pixels, each at least 32.
        names: Splits that the layout has.

    Raises:
        ValueError: When an argument is out of its range.
    """

    out_dir: str | os.PathLike
    name: str
    num_images: int
    seed: int
    size: tuple[int, int]
    names: tuple[str, ...] = SPLITS

    def __post_init__(self) -> None:
        for name, kind in (('out_dir', Path), ('num_images', int), ('seed', int)):
            object.__setattr__(self, name, kind(getattr(self, name)))
        object.__setattr__(self, 'size', tuple(map(int, self.size)))
        if self.name not in self.names:
            raise ValueError(f'split must be one of {self.names}, got {self.name!r}')
        if self.num_images < 1:
            raise ValueError(f'num_images must be at least 1, got {self.num_images}')
        if not 0 <= self.seed < _SEEDS:
            raise ValueError(f'seed must be in [0, 2**29), got {self.seed}')
        if len(self.size) != 2 or min(self.size) < 32:
            raise ValueError(f'size must be (height, width), each at least 32, got {self.size}')

    @property
    def people_seed(self) -> int:
        """Seed of the identities and backgrounds; no two splits or seeds have the same."""
        if self.name not in SPLITS:  # test
            return _FIRST_SEED + 2 * _SEEDS + self.seed
        return _FIRST_SEED + 2 * self.seed + SPLITS.index(self.name)

    def rng(self, purpose: int, index: int) -> np.random.Generator:
        """Random numbers for one image."""
        return np.random.default_rng([self.people_seed, purpose, index])


def write_split(split: Split, layout: str, owned: Sequence[str],
                draw: Callable[[Split, int], dict], finish: Callable[[Split, list[dict]], None],
                workers: int | None, progress: bool, **settings: object) -> None:
    """Draw all images of a split, then write its annotations, by :func:`~..shards.draw_in_shards`.

    Args:
        split: What to draw.
        layout: Name of the layout, and of its module in this package.
        owned: As there, and so ``draw`` and ``finish``, which take the split first.
        draw: Split and number of an image to its row.
        finish: Split and all rows.
        workers: As there.
        progress: As there.
        **settings: Further arguments that ``draw`` depends on.

    Raises:
        ValueError: As there.
    """
    settings = {
        'num_images': split.num_images, 'seed': split.seed, 'size': list(split.size), **settings,
        'generator': _code(layout)}
    draw_in_shards(split.out_dir / f'synthetic_{layout}_{split.name}.json', settings,
                   split.num_images, _SHARD, partial(draw, split), partial(finish, split), owned,
                   workers, progress)


def write_scenes(split: Split, layout: str, owned: Sequence[str],
                 draw: Callable[[Split, int, tuple[int, int]], dict],
                 finish: Callable[[Split, list[dict]], None], workers: int | None, progress: bool,
                 num_people: Sequence[int]) -> None:
    """As :func:`write_split`, for pictures of ``num_people``, fewest and most.

    ``draw`` takes that too.

    Raises:
        ValueError: As there, or ``num_people`` is out of 1 to 100.
    """
    low, high = num_people
    if not 1 <= low <= high <= 100:
        raise ValueError(f'num_people must be two numbers in 1..100, got {num_people}')
    write_split(split, layout, owned, partial(draw, num_people=(low, high)), finish, workers,
                progress, num_people=[low, high])


def draw_some(split: Split, purpose: int, index: int, num_people: tuple[int, int],
              **options: Any) -> SceneRecord:
    """A scene of a random number of people; ``options`` are :func:`draw_scene`'s."""
    count = int(split.rng(purpose, index).integers(num_people[0], num_people[1] + 1))
    return draw_scene(split.people_seed, split.size, count, index, **options)


def box_xywh(box: Sequence[float]) -> list[float]:
    """x, y, width, height of a box given by its corners, rounded to 0.01."""
    x1, y1, x2, y2 = (float(value) for value in box)
    return [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]


def _code(layout: str) -> str:
    source = hashlib.sha256(drawing_code().encode())
    for name in ('split', 'matlab', layout):
        source.update(Path(__file__).with_name(f'{name}.py').read_bytes())
    return source.hexdigest()[:12]

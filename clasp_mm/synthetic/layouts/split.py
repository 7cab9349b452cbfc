"""Draw one split of a data set: over several processes, whole or resumed after a kill."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.progress import track

from clasp_mm.utils.files import locked, read_json, write_json

from ..scene import SceneRecord, draw_scene
from ..writers import (
    drawing_code,
    encode,
    is_complete,
    mapper,
    sweep_all,
    write_bytes,
    write_marker,
)

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

    out_dir: Path
    name: str
    num_images: int
    seed: int
    size: tuple[int, int]
    names: tuple[str, ...] = SPLITS

    def __post_init__(self) -> None:
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
    """Draw all images of a split, then write its annotations.

    The files do not depend on the number of workers. What is already complete is left alone;
    after a kill the next call goes on with the first shard that is missing. Of two processes one
    draws, and the other waits for it.

    Args:
        split: What to draw.
        layout: Name of the layout, and of its module in this package.
        owned: Paths below ``split.out_dir`` that only this split writes.
        draw: Writes the files of one image and returns what ``finish`` needs of it, as JSON can
            hold it. It is sent to other processes.
        finish: Writes the annotation files from the rows of all images.
        workers: Processes; None takes one per usable core. More than one are spawned, so a
            script that calls this needs the usual ``if __name__ == '__main__'``.
        progress: Show a progress bar.
        **settings: Further arguments that ``draw`` depends on.

    Raises:
        ValueError: ``workers`` < 1, or one of ``owned`` is there and was not written by this
            function with the same arguments.
    """
    if workers is not None and workers < 1:
        raise ValueError(f'workers must be at least 1, got {workers}')
    marker = split.out_dir / f'synthetic_{layout}_{split.name}.json'
    settings = {
        'num_images': split.num_images, 'seed': split.seed, 'size': list(split.size), **settings,
        'generator': _code(layout)}
    with locked(marker, f'another process draws {marker.stem} in {split.out_dir}: waiting for it'):
        _write_split(split, layout, owned, draw, finish, workers, progress, marker, settings)


def _write_split(split: Split, layout: str, owned: Sequence[str],
                 draw: Callable[[Split, int], dict], finish: Callable[[Split, list[dict]], None],
                 workers: int | None, progress: bool, marker: Path, settings: dict) -> None:
    parts = split.out_dir / f'.parts_{layout}_{split.name}'
    if is_complete(marker, settings):
        shutil.rmtree(parts, ignore_errors=True)  # a kill may have left it
        return
    if not marker.exists():
        there = [path for path in owned if (split.out_dir / path).exists()]
        if there:
            raise ValueError(f'{split.out_dir} holds {", ".join(there)}, not written by this '
                             f'function (there is no {marker.name}); give a new folder')
    write_marker(marker, settings, complete=False)
    for path in owned:
        sweep_all(split.out_dir / path)
    shards = -(-split.num_images // _SHARD)
    missing = [shard for shard in range(shards) if not _part(parts, shard).exists()]
    with mapper(workers, len(missing)) as run:
        ranges = [range(shard * _SHARD, min((shard + 1) * _SHARD, split.num_images))
                  for shard in missing]
        results = zip(missing, run(partial(_draw_range, split, draw), ranges), strict=True)
        if progress:
            results = track(results, f'drawing {split.num_images} {layout} {split.name} images',
                            total=len(missing))
        for shard, rows in results:
            write_json(_part(parts, shard), rows, indent=None)
    rows = [row for shard in range(shards)
            for row in read_json(_part(parts, shard))]
    finish(split, rows)
    write_marker(marker, settings, complete=True)
    shutil.rmtree(parts)


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


def write_picture(path: Path, image: np.ndarray) -> None:
    """Write an image (H, W, 3) RGB, by the name's end; a JPEG in quality 92."""
    options = (cv2.IMWRITE_JPEG_QUALITY, 92) if path.suffix == '.jpg' else ()
    write_bytes(path, encode(path.suffix, image[..., ::-1], *options))


def box_xywh(box: Sequence[float]) -> list[float]:
    """x, y, width, height of a box given by its corners, rounded to 0.01."""
    x1, y1, x2, y2 = (float(value) for value in box)
    return [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]


def _draw_range(split: Split, draw: Callable[[Split, int], dict], images: range) -> list[dict]:
    return [draw(split, index) for index in images]


def _part(parts: Path, shard: int) -> Path:
    return parts / f'{shard:06d}.json'


def _code(layout: str) -> str:
    source = hashlib.sha256(drawing_code().encode())
    for name in ('split', 'matlab', layout):
        source.update(Path(__file__).with_name(f'{name}.py').read_bytes())
    return source.hexdigest()[:12]

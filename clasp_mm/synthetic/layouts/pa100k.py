"""Synthetic people as PA-100K is kept."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..people import SyntheticPeople
from ..shards import write_picture
from ..words import PA100K_ATTRIBUTES
from . import matlab
from .split import Split, write_split

_SPLITS = ('train', 'val', 'test')
_ANNOTATION = 'annotation.mat'


def write_pa100k(out_dir: str | os.PathLike, split: str, num_images: int, seed: int = 0,
                 size: tuple[int, int] = (256, 128), workers: int | None = None,
                 progress: bool = True) -> None:
    """Draw crops of single people with PA-100K's 26 attributes, for ``clasp_mm.AttributeDataset``.

    ::

        data/{split}_000000.jpg
        annotation.mat          attributes, {split}_images_name and {split}_label of each split

    An attribute of the person is 1 whether it shows or not (a backpack seen from the front), as in
    PA-100K. Every image shows another identity. Splits are written one after the other, not side
    by side, as they share ``annotation.mat``.

    Arguments and errors are those of :class:`~.split.Split` and :func:`~.split.write_split`.
    """
    split = Split(out_dir, split, num_images, seed, size, _SPLITS)
    write_split(split, 'pa100k', (_name(split, 0),), _draw, _finish, workers, progress)


def _name(split: Split, index: int) -> str:
    return f'data/{split.name}_{index:06d}.jpg'


def _draw(split: Split, index: int) -> dict:
    record = SyntheticPeople(split.num_images, 1, split.people_seed, split.size)[index]
    name = _name(split, index)
    write_picture(split.out_dir / name, record.image)
    return {'name': Path(name).name, 'label': record.pa100k.tolist()}


def _finish(split: Split, rows: list[dict]) -> None:
    path = split.out_dir / _ANNOTATION
    matlab.write(path, {
        **matlab.read(path),  # of the other splits
        'attributes': matlab.cells(PA100K_ATTRIBUTES),
        f'{split.name}_images_name': matlab.cells([row['name'] for row in rows]),
        f'{split.name}_label': np.array([row['label'] for row in rows], np.uint8)})

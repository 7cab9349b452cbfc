"""Synthetic people as Market-1501 is kept."""

from __future__ import annotations

import os

from ..people import SyntheticPeople
from ..shards import write_picture
from .split import Split, write_split

_SHOTS = 8  # images of an identity
_QUERIES = 2  # of them, of two cameras
_FOLDERS = {'train': ('bounding_box_train', ), 'val': ('query', 'bounding_box_test')}
_FIRST = {'train': 1, 'val': 5001}  # numbers of the identities
_MOST = 4000  # identities of a split: names have four digits


def write_market1501(out_dir: str | os.PathLike, split: str, num_images: int, seed: int = 0,
                     size: tuple[int, int] = (128, 64), workers: int | None = None,
                     progress: bool = True) -> None:
    """Draw people under six cameras, for ``clasp_mm.Market1501``.

    ::

        bounding_box_train/0001_c1s1_000000_00.jpg      split 'train'
        query/5001_c3s1_000000_00.jpg                   split 'val': two images of an identity,
        bounding_box_test/5001_c5s1_000002_00.jpg       and its other six

    The number behind ``s1_`` is that of the image. Every tenth identity of ``val`` is a distractor
    (0000) and every tenth is junk (-1), all of it in the gallery.

    Arguments and errors are those of :class:`~.split.Split` and :func:`~.split.write_split`.
    There are eight images of each identity.
    """
    split = Split(out_dir, split, num_images, seed, size)
    if split.num_images > _MOST * _SHOTS:
        raise ValueError(f'num_images must be at most {_MOST * _SHOTS}, got {split.num_images}')
    write_split(split, 'market1501', _FOLDERS[split.name], _draw, _finish, workers, progress)


def _draw(split: Split, index: int) -> dict:
    people = SyntheticPeople(-(-split.num_images // _SHOTS), _SHOTS, split.people_seed, split.size)
    identity, shot = divmod(index, _SHOTS)
    folder, person = _FOLDERS[split.name][-1], f'{identity + _FIRST[split.name]:04d}'
    if split.name == 'val':
        person = {8: '0000', 9: '-1'}.get(identity % 10, person)
        if shot < _QUERIES and person not in ('0000', '-1'):
            folder = 'query'
    record = people[index]
    name = f'{folder}/{person}_c{record.camera + 1}s1_{index:06d}_00.jpg'
    write_picture(split.out_dir / name, record.image)
    return {'name': name}


def _finish(split: Split, rows: list[dict]) -> None:
    """The names are the annotations."""

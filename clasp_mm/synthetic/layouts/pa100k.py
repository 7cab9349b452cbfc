"""Synthetic people as PA-100K is kept."""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
from scipy.io import loadmat, savemat

from clasp_mm.utils.files import replacing

from ..people import SyntheticPeople
from ..words import PA100K_ATTRIBUTES
from ..writers import encode, write_bytes
from .split import Split, write_split

_SPLITS = ('train', 'val', 'test')
_ANNOTATION = 'annotation.mat'
_HEADER = b'MATLAB 5.0 MAT-file, synthetic people'.ljust(116)  # scipy's tells the time


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

    Args:
        out_dir: The data root; see :func:`~.split.write_split` for what may lie there.
        split: ``'train'``, ``'val'`` or ``'test'``; they share no person and no background.
        num_images: How many crops.
        seed: 0 <= seed < 2**29; another seed draws other people.
        size: Height and width of the crops in pixels.
        workers: Processes; None takes one per usable core.
        progress: Show a progress bar.

    Raises:
        ValueError: An argument is out of its range, or the split is there and is another one.
    """
    split = Split(Path(out_dir), split, int(num_images), int(seed), tuple(map(int, size)), _SPLITS)
    write_split(split, 'pa100k', (_name(split, 0),), _draw, _finish, workers, progress)


def _name(split: Split, index: int) -> str:
    return f'data/{split.name}_{index:06d}.jpg'


def _draw(split: Split, index: int) -> dict:
    record = SyntheticPeople(split.num_images, 1, split.people_seed, split.size)[index]
    name = _name(split, index)
    write_bytes(split.out_dir / name,
                encode('.jpg', record.image[..., ::-1], cv2.IMWRITE_JPEG_QUALITY, 92))
    return {'name': Path(name).name, 'label': record.pa100k.tolist()}


def _finish(split: Split, rows: list[dict]) -> None:
    path = split.out_dir / _ANNOTATION
    content = {}
    if path.exists():  # of the other splits
        content = {key: value for key, value in loadmat(path).items() if key[:2] != '__'}
    content.update({
        'attributes': _cells(PA100K_ATTRIBUTES),
        f'{split.name}_images_name': _cells([row['name'] for row in rows]),
        f'{split.name}_label': np.array([row['label'] for row in rows], np.uint8)})
    buffer = io.BytesIO()
    savemat(buffer, dict(sorted(content.items())), do_compression=True)
    data = _HEADER + buffer.getvalue()[len(_HEADER):]
    with replacing(path) as partial:
        partial.write_bytes(data)


def _cells(texts: list[str] | tuple[str, ...]) -> np.ndarray:
    """A MATLAB cell array (N, 1) of strings."""
    cells = np.empty((len(texts), 1), object)
    cells[:, 0] = texts
    return cells

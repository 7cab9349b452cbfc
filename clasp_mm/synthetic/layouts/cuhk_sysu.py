"""Synthetic scenes as CUHK-SYSU is kept."""

from __future__ import annotations

import io
import os
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from scipy.io import loadmat, savemat

from clasp_mm.utils.files import replacing

from ..scene import draw_scene
from ..writers import encode, write_bytes
from .split import Split, box_xywh, write_split

_SCENE, _GALLERY = 5, 6
_IMAGES = 'Image/SSM'
_ANNOTATION = 'annotation'
_LISTS = f'{_ANNOTATION}/test/train_test'
_GALLERY_SIZES = (50, 100)
_LEAST_WIDTH, _LEAST_HEIGHT = 8, 24  # pixels that must show of a person to be annotated
_UNLABELLED = 4  # every fourth person has no identity
_HEADER = b'MATLAB 5.0 MAT-file'.ljust(116)  # SciPy's own holds the date


def write_cuhk_sysu(out_dir: str | os.PathLike, split: str, num_images: int, seed: int = 0,
                    size: tuple[int, int] = (240, 400), num_people: tuple[int, int] = (2, 5),
                    workers: int | None = None, progress: bool = True) -> None:
    """Draw scenes in which the same people come again, each scene under another camera and light.

    ::

        Image/SSM/{train,val}_000000.jpg
        annotation/Images.mat, pool.mat               all frames; those to search, of val
        annotation/test/train_test/Train.mat          who is where, of train
        annotation/test/train_test/TestG{50,100}.mat  queries and galleries, of val

    ``val`` is what CUHK-SYSU calls test. There are about as many people as pictures; each shows in
    several. A box is what shows of a person. Every fourth person is annotated without identity.
    Each labelled person of val who shows twice is a query; a gallery has all other frames that
    show the person and, up to its size, others; a small split has smaller galleries.

    Args:
        out_dir: The data root of both splits.
        split: ``'train'`` or ``'val'``; they share no person and no background.
        num_images: How many pictures.
        seed: 0 <= seed < 2**29; another seed draws other people.
        size: Height and width of the pictures in pixels.
        num_people: Fewest and most people in a picture.
        workers: Processes; None takes one per usable core.
        progress: Show a progress bar.

    Raises:
        ValueError: An argument is out of its range, or the split is there and is another one.
    """
    split = Split(Path(out_dir), split, int(num_images), int(seed), tuple(map(int, size)))
    low, high = num_people
    if not 1 <= low <= high <= 100:
        raise ValueError(f'num_people must be two numbers in 1..100, got {num_people}')
    owned = (_frame(split, 0), f'{_LISTS}/Train.mat' if split.name == 'train'
             else f'{_ANNOTATION}/pool.mat')
    write_split(split, 'cuhk_sysu', owned, partial(_draw, num_people=(low, high)), _finish,
                workers, progress, num_people=[low, high])


def _frame(split: Split, index: int) -> str:
    return f'{_IMAGES}/{split.name}_{index:06d}.jpg'


def _draw(split: Split, index: int, num_people: tuple[int, int]) -> dict:
    count = int(split.rng(_SCENE, index).integers(num_people[0], num_people[1] + 1))
    scene = draw_scene(split.people_seed, split.size, count, index,
                       num_identities=max(num_people[1], split.num_images))
    write_bytes(split.out_dir / _frame(split, index),
                encode('.jpg', scene.image[..., ::-1], cv2.IMWRITE_JPEG_QUALITY, 92))
    people = []
    for person in scene.people:
        box = [round(value) for value in box_xywh(person.box_visible)]
        if box[2] >= _LEAST_WIDTH and box[3] >= _LEAST_HEIGHT:
            people.append({'identity': person.identity, 'box': box})
    return {'name': Path(_frame(split, index)).name, 'people': people}


def _finish(split: Split, rows: list[dict]) -> None:
    seen: dict[int, list[tuple[str, list[int]]]] = {}
    for row in rows:
        for person in row['people']:
            if person['identity'] % _UNLABELLED:
                seen.setdefault(person['identity'], []).append((row['name'], person['box']))
    seen = dict(sorted(seen.items()))
    images = np.array([
        (row['name'], len(row['people']), _struct([
            (np.array(person['box']), 0) for person in row['people']], ('idlocate', 'ishard')))
        for row in rows], [(name, object) for name in ('imname', 'nAppear', 'box')])
    file = split.out_dir / _ANNOTATION / 'Images.mat'
    if file.exists():  # of the other split
        images = np.concatenate([loadmat(file)['Img'].ravel(), images])
    _save(file, 'Img', images)
    if split.name == 'train':
        _save(split.out_dir / _LISTS / 'Train.mat', 'Train', _cells([
            _struct([(f'p{identity}', len(places), _places(places))],
                    ('idname', 'nAppear', 'scene')) for identity, places in seen.items()]))
        return
    _save(split.out_dir / _ANNOTATION / 'pool.mat', 'pool', _cells([row['name'] for row in rows]))
    for gallery_size in _GALLERY_SIZES:
        searches = []
        for identity, ((name, box), *others) in seen.items():
            if not others:
                continue
            shown = {name, *(other for other, _ in others)}
            rest = [row['name'] for row in rows if row['name'] not in shown]
            fill = max(0, gallery_size - len(others))
            rest = split.rng(_GALLERY, identity).permutation(rest)[:fill].tolist()
            searches.append((
                _struct([(name, np.array(box), 0, f'p{identity}')],
                        ('imname', 'idlocate', 'ishard', 'idname')),
                _places(others + [(one, []) for one in rest])))
        _save(split.out_dir / _LISTS / f'TestG{gallery_size}.mat', f'TestG{gallery_size}',
              _struct(searches, ('Query', 'Gallery')))


def _places(places: list[tuple[str, list[int]]]) -> np.ndarray:
    return _struct([(name, np.array(box), 0) for name, box in places],
                   ('imname', 'idlocate', 'ishard'))


def _struct(rows: list[tuple], names: tuple[str, ...]) -> np.ndarray:
    """A MATLAB struct array (1, N)."""
    records = np.empty((1, len(rows)), [(name, object) for name in names])
    for at, row in enumerate(rows):
        records[0, at] = row
    return records


def _cells(values: list) -> np.ndarray:
    """A MATLAB cell array (N, 1)."""
    cells = np.empty((len(values), 1), object)
    for at, value in enumerate(values):
        cells[at, 0] = value
    return cells


def _save(path: Path, name: str, content: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    savemat(buffer, {name: content}, do_compression=True)
    data = _HEADER + buffer.getvalue()[len(_HEADER):]
    with replacing(path) as partial_file:
        partial_file.write_bytes(data)

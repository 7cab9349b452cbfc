"""Synthetic scenes as CUHK-SYSU is kept."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..shards import write_picture
from . import matlab
from .split import Split, box_xywh, draw_some, write_scenes

_SCENE, _GALLERY = 5, 6
_IMAGES = 'Image/SSM'
_ANNOTATION = 'annotation'
_LISTS = f'{_ANNOTATION}/test/train_test'
_GALLERY_SIZES = (50, 100)
_LEAST_WIDTH, _LEAST_HEIGHT = 8, 24  # pixels that must show of a person to be annotated
_UNLABELLED = 4  # every fourth person has no identity


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

    Arguments and errors are those of :class:`~.split.Split` and :func:`~.split.write_scenes`.
    """
    split = Split(out_dir, split, num_images, seed, size)
    owned = (_frame(split, 0), f'{_LISTS}/Train.mat' if split.name == 'train'
             else f'{_ANNOTATION}/pool.mat')
    write_scenes(split, 'cuhk_sysu', owned, _draw, _finish, workers, progress, num_people)


def _frame(split: Split, index: int) -> str:
    return f'{_IMAGES}/{split.name}_{index:06d}.jpg'


def _draw(split: Split, index: int, num_people: tuple[int, int]) -> dict:
    scene = draw_some(split, _SCENE, index, num_people,
                      num_identities=max(num_people[1], split.num_images))
    write_picture(split.out_dir / _frame(split, index), scene.image)
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
        (row['name'], len(row['people']), matlab.struct([
            (np.array(person['box']), 0) for person in row['people']], ('idlocate', 'ishard')))
        for row in rows], [(name, object) for name in ('imname', 'nAppear', 'box')])
    file = split.out_dir / _ANNOTATION / 'Images.mat'
    if file.exists():  # of the other split, and of this one where a kill came behind it
        old = matlab.read(file)['Img'].ravel()
        others = old[~np.isin([str(name[0]) for name in old['imname']],
                              [row['name'] for row in rows])]
        images = np.concatenate(
            [images, others] if split.name == 'train' else [others, images])
    matlab.write(file, {'Img': images})
    if split.name == 'train':
        matlab.write(split.out_dir / _LISTS / 'Train.mat', {'Train': matlab.cells([
            matlab.struct([(f'p{identity}', len(places), _places(places))],
                          ('idname', 'nAppear', 'scene')) for identity, places in seen.items()])})
        return
    matlab.write(split.out_dir / _ANNOTATION / 'pool.mat',
                 {'pool': matlab.cells([row['name'] for row in rows])})
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
                matlab.struct([(name, np.array(box), 0, f'p{identity}')],
                              ('imname', 'idlocate', 'ishard', 'idname')),
                _places(others + [(one, []) for one in rest])))
        title = f'TestG{gallery_size}'
        matlab.write(split.out_dir / _LISTS / f'{title}.mat',
                     {title: matlab.struct(searches, ('Query', 'Gallery'))})


def _places(places: list[tuple[str, list[int]]]) -> np.ndarray:
    return matlab.struct([(name, np.array(box), 0) for name, box in places],
                         ('imname', 'idlocate', 'ishard'))

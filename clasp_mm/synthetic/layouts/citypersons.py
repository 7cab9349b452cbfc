"""Synthetic scenes as CityPersons is kept."""

from __future__ import annotations

import os
from itertools import combinations

import numpy as np

from clasp_mm.utils.files import write_json

from ..scene import SceneRecord
from ..shards import write_picture
from .split import Split, box_xywh, draw_some, write_scenes

_SCENE = 3
_CITIES = {'train': ('nordville', 'westville'), 'val': ('sudville', 'ostville')}
_TALLEST = 256  # height of the picture in which people have the size draw_scene gives them
_SMALLEST = 8  # pixels: what shows of a person is an ignore region if it is less wide or high
_GROUP = .6  # overlap of two people that are annotated as one group
_PERSON = 24  # Cityscapes' number of the class


def write_citypersons(out_dir: str | os.PathLike, split: str, num_images: int, seed: int = 0,
                      size: tuple[int, int] = (256, 512), num_people: tuple[int, int] = (5, 14),
                      workers: int | None = None, progress: bool = True) -> None:
    """Draw street scenes with pedestrians of 25 to 200 pixels, many of them occluded.

    ::

        leftImg8bit/{split}/{city}/{city}_000000_000019_leftImg8bit.png
        gtBboxCityPersons/{split}/{city}/{city}_000000_000019_gtBboxCityPersons.json
        {split}_gt.json                             the same in COCO's manner

    A pedestrian's ``bbox`` is the whole body's, drawn as if nothing hid it (it may leave the
    picture), and ``bboxVis`` what shows of it, both tight; boxes are not brought to the aspect
    ratio 0.41 of the real annotations. As there, other labels have ``bbox`` equal to ``bboxVis``:
    ``sitting person``; ``person group``, two people hard to tell apart; ``ignore``, of whom less
    than 8 pixels show. Who is quite hidden is left out. In ``{split}_gt.json`` these have
    ``ignore`` 1; all have ``category_id`` 1, ``bbox``, ``vis_bbox``, ``height`` and ``vis_ratio``
    (visible area by whole area), and images have ``im_name``, and ``file_name`` below
    ``leftImg8bit/{split}``.

    Arguments and errors are those of :class:`~.split.Split` and :func:`~.split.write_scenes`.
    People keep their size in pixels from a height of 256 on, and are smaller below.
    """
    split = Split(out_dir, split, num_images, seed, size)
    owned = (f'leftImg8bit/{split.name}', f'gtBboxCityPersons/{split.name}',
             f'{split.name}_gt.json')
    write_scenes(split, 'citypersons', owned, _draw, _finish, workers, progress, num_people)


def _draw(split: Split, index: int, num_people: tuple[int, int]) -> dict:
    scene = draw_some(split, _SCENE, index, num_people,
                      person_scale=min(1., _TALLEST / split.size[0]))
    city = _CITIES[split.name][index % 2]
    stem = f'{city}/{city}_{index:06d}_000019'
    write_picture(split.out_dir / f'leftImg8bit/{split.name}/{stem}_leftImg8bit.png', scene.image)
    objects = _objects(scene)
    write_json(
        split.out_dir / f'gtBboxCityPersons/{split.name}/{stem}_gtBboxCityPersons.json',
        {'imgHeight': split.size[0], 'imgWidth': split.size[1], 'objects': objects},
        indent=None)
    return {'file_name': f'{stem}_leftImg8bit.png', 'objects': objects}


def _objects(scene: SceneRecord) -> list[dict]:
    """The objects of one picture as in the official files: integer x, y, width, height."""
    seen = [(number, person) for number, person in enumerate(scene.people)
            if person.box_visible[2] > 0]
    groups = [pair for pair in combinations(range(len(seen)), 2)
              if _overlap(*(seen[at][1].box_visible for at in pair)) >= _GROUP]
    grouped, objects = set(), []
    for pair in groups:
        if grouped.isdisjoint(pair):
            grouped.update(pair)
            boxes = np.array([seen[at][1].box_visible for at in pair])
            union = _box((*boxes[:, :2].min(0), *boxes[:, 2:].max(0)))
            objects.append({'label': 'person group', 'instanceId': _PERSON, 'bbox': union,
                            'bboxVis': union})
    for at, (number, person) in enumerate(seen):
        if at in grouped:
            continue
        visible = _box(person.box_visible)
        if min(visible[2:]) < _SMALLEST:
            label = 'ignore'
        elif person.facts['posture'] == 'sitting':
            label = 'sitting person'
        else:
            label = 'pedestrian'
        whole = _box(person.box_full) if label == 'pedestrian' else visible
        objects.append({'label': label, 'instanceId': _PERSON * 1000 + number, 'bbox': whole,
                        'bboxVis': visible})
    return objects


def _box(corners: tuple[float, ...]) -> list[int]:
    return [int(value) for value in box_xywh(corners)]


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def _finish(split: Split, rows: list[dict]) -> None:
    images, annotations = [], []
    for image_id, row in enumerate(rows, 1):
        name = row['file_name']
        images.append({'id': image_id, 'im_name': name.split('/')[1], 'file_name': name,
                       'height': split.size[0], 'width': split.size[1]})
        for item in row['objects']:
            (*_, width, height), (*_, seen_width, seen_height) = item['bbox'], item['bboxVis']
            annotations.append({
                'id': len(annotations) + 1, 'image_id': image_id, 'category_id': 1, 'iscrowd': 0,
                'ignore': int(item['label'] != 'pedestrian'), 'bbox': item['bbox'],
                'vis_bbox': item['bboxVis'], 'height': height, 'area': width * height,
                'vis_ratio': seen_width * seen_height / (width * height)})
    write_json(split.out_dir / f'{split.name}_gt.json', {
        'images': images, 'annotations': annotations,
        'categories': [{'id': 1, 'name': 'pedestrian'}]}, indent=None)

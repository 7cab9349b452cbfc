"""Synthetic scenes as COCO's person keypoints are kept, with a detector's boxes beside them."""

from __future__ import annotations

import os

import cv2
import numpy as np

from clasp_mm.utils.files import write_json

from ..scene import ScenePerson
from ..shards import write_picture
from ..words import COCO_KEYPOINTS, COCO_SKELETON
from .split import SPLITS, Split, box_xywh, draw_some, write_scenes

_SCENE, _DETECTOR = 1, 2
_MARGIN = .1  # of the box's longer side: a hidden joint farther outside the box is not labelled
_FEWEST = 3  # visible joints; with fewer, as in COCO, the joints are not labelled


def write_coco_keypoints(out_dir: str | os.PathLike, split: str, num_images: int, seed: int = 0,
                         size: tuple[int, int] = (256, 320), num_people: tuple[int, int] = (1, 6),
                         workers: int | None = None, progress: bool = True) -> None:
    """Draw pictures of several people for mmpose's and mmdet's ``CocoDataset``.

    ::

        annotations/person_keypoints_{split}2017.json
        {split}2017/000000000001.jpg
        person_detection_results/COCO_{split}2017_detections_AP_H_56_person.json

    Boxes hold what shows of a person; ``area`` and ``segmentation`` (outer polygons) are of the
    same pixels; who is hidden altogether is left out. Joints have visibility 2, 1 (hidden, but
    within the box and a margin) or 0 with x = y = 0; of people with less than three visible joints
    none is labelled, and ``num_keypoints`` is 0. ``iscrowd`` is 0 throughout. Ids of training
    images are odd, of validation images even. The detections are the boxes with noise and a score,
    some missed and some false; the file has the name the host's configs expect, not that AP.

    Arguments and errors are those of :class:`~.split.Split` and :func:`~.split.write_scenes`.
    """
    split = Split(out_dir, split, num_images, seed, size)
    owned = (f'{split.name}2017', _annotation_name(split), _detection_name(split))
    write_scenes(split, 'coco', owned, _draw, _finish, workers, progress, num_people)


def _annotation_name(split: Split) -> str:
    return f'annotations/person_keypoints_{split.name}2017.json'


def _detection_name(split: Split) -> str:
    return f'person_detection_results/COCO_{split.name}2017_detections_AP_H_56_person.json'


def _draw(split: Split, index: int, num_people: tuple[int, int]) -> dict:
    scene = draw_some(split, _SCENE, index, num_people)
    image_id = 2 * index + 1 + SPLITS.index(split.name)
    name = f'{image_id:012d}.jpg'
    write_picture(split.out_dir / f'{split.name}2017/{name}', scene.image)
    people = []
    for number, person in enumerate(scene.people, 1):
        mask = (scene.instances == number) & (scene.parsing > 0)
        if mask.any():
            people.append({'image_id': image_id, **_annotation(person, mask)})
    image = {'id': image_id, 'file_name': name, 'height': split.size[0], 'width': split.size[1]}
    return {'image': image, 'people': people,
            'detections': _detections(people, image_id, split, split.rng(_DETECTOR, index))}


def _annotation(person: ScenePerson, mask: np.ndarray) -> dict:
    keypoints = _labelled(person)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL,
                                   cv2.CHAIN_APPROX_SIMPLE)
    return {
        'category_id': 1, 'bbox': box_xywh(person.box_visible), 'area': float(mask.sum()),
        'iscrowd': 0, 'num_keypoints': int((keypoints[:, 2] > 0).sum()),
        'keypoints': np.round(keypoints.astype(float), 2).ravel().tolist(),
        # At the pixels' centres; two points or one enclose nothing.
        'segmentation': [(outline.ravel() + .5).tolist() for outline in outlines
                         if len(outline) > 2]}


def _labelled(person: ScenePerson) -> np.ndarray:
    """(17, 3) keypoints as an annotator would give them: 0, 0, 0 for the others."""
    keypoints = person.keypoints.copy()
    x1, y1, x2, y2 = person.box_visible
    margin = _MARGIN * max(x2 - x1, y2 - y1)
    x, y, visible = keypoints.T
    near = ((x1 - margin <= x) & (x <= x2 + margin) & (y1 - margin <= y) & (y <= y2 + margin))
    labelled = (visible == 2) | ((visible == 1) & near)
    if (visible == 2).sum() < _FEWEST:
        labelled[:] = False
    keypoints[~labelled] = 0
    return keypoints


def _detections(people: list[dict], image_id: int, split: Split,
                rng: np.random.Generator) -> list[dict]:
    """What a fair detector might find: noisy boxes, the hidden and small ones less surely."""
    height, width = split.size
    found = []
    for person in people:
        x, y, w, h = person['bbox']
        shift, stretch = rng.normal(0, .03, 2), np.exp(rng.normal(0, .06, 2))
        noise, missed = abs(rng.normal(0, .1)), rng.random() < .05
        sure = min(1., person['num_keypoints'] / 12) * min(1., h / 40)
        if not missed:
            w2, h2 = w * stretch[0], h * stretch[1]
            box = (x + w / 2 + shift[0] * w - w2 / 2, y + h / 2 + shift[1] * h - h2 / 2, w2, h2)
            found.append((box, .25 + .74 * sure - noise))
    for _ in range(rng.poisson(.4)):
        h = rng.uniform(.1, .6) * height
        found.append(((rng.uniform(0, width), rng.uniform(0, height - h), .4 * h, h),
                      rng.uniform(.02, .35)))
    detections = []
    for (x, y, w, h), score in found:
        x1, y1, x2, y2 = np.clip([x, y, x + w, y + h], 0, [width, height] * 2)
        if x2 - x1 >= 1 and y2 - y1 >= 1:
            detections.append({'image_id': image_id, 'category_id': 1,
                               'bbox': box_xywh((x1, y1, x2, y2)),
                               'score': round(float(np.clip(score, .01, .999)), 4)})
    return detections


def _finish(split: Split, rows: list[dict]) -> None:
    people = [person for row in rows for person in row['people']]
    write_json(split.out_dir / _annotation_name(split), {
        'info': {'description': 'synthetic people in the layout of COCO person keypoints'},
        'licenses': [],
        'images': [row['image'] for row in rows],
        'annotations': [{'id': number, **person} for number, person in enumerate(people, 1)],
        'categories': [{'id': 1, 'name': 'person', 'supercategory': 'person',
                        'keypoints': list(COCO_KEYPOINTS),
                        'skeleton': [[a + 1, b + 1] for a, b in COCO_SKELETON]}]}, indent=None)
    write_json(split.out_dir / _detection_name(split),
               [detection for row in rows for detection in row['detections']], indent=None)

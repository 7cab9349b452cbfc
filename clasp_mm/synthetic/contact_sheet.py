"""A page of synthetic people to look at: pictures, part maps, keypoints, attributes, scenes."""

import os
from pathlib import Path

import cv2
import numpy as np

from .people import PersonRecord, SyntheticPeople
from .scene import SceneRecord, draw_scene
from .shards import write_picture
from .words import COCO_SKELETON, LIP_CLASSES, LIP_PALETTE

_PALETTE = np.array(LIP_PALETTE, np.uint8)
_ZOOM = 3 / 2
_PAPER, _INK = 250, (40, 40, 44)
_TEXT_LINES, _LINE = 5, 15
_VISIBLE, _HIDDEN = (40, 230, 60), (240, 60, 40)


def contact_sheet(people: SyntheticPeople, path: str | os.PathLike, identities: int = 8,
                  images: int = 3, scenes: int = 2) -> None:
    """Draw a PNG with two identities per line, and scenes below.

    Each cell shows the picture, and beside it the part map with the keypoints (green visible,
    red hidden) and the full box; below, what is true of the person.

    Args:
        people: Where the identities come from; the first four are one family.
        path: The PNG.
        identities: How many identities, at most.
        images: Pictures of each, at most.
        scenes: Number of scenes.
    """
    last = people.num_identities - 1
    far = np.linspace(4, last, max(identities - 4, 0)).astype(int).tolist() if last >= 4 else []
    chosen = [*range(min(4, identities, last + 1)), *dict.fromkeys(far)]
    rows = [np.hstack([_cell(people[identity * people.images_per_identity + number])
                       for number in range(min(images, people.images_per_identity))])
            for identity in chosen]
    if len(rows) % 2:
        rows.append(np.full_like(rows[0], _PAPER))
    rows = [np.hstack(rows[at:at + 2]) for at in range(0, len(rows), 2)]
    width = rows[0].shape[1]
    blocks = [_legend(width), *rows]
    if scenes:
        drawn = np.hstack([_scene(draw_scene(people.seed, index=index, num_people=8))
                           for index in range(scenes)])
        height = round(drawn.shape[0] * width / drawn.shape[1])
        blocks.append(cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA))
    write_picture(Path(path), np.vstack(blocks))


def overlay(image: np.ndarray, parsing: np.ndarray, share: float = .68) -> np.ndarray:
    """Blend LIP's palette over a picture, (H, W, 3) uint8 RGB."""
    return cv2.addWeighted(image, 1 - share, _PALETTE[parsing], share, 0)


def draw_keypoints(image: np.ndarray, keypoints: np.ndarray, zoom: float, radius: int) -> None:
    """Draw COCO keypoints and bones in place: green visible, red hidden."""
    at = [tuple(np.rint(xy * zoom + zoom / 2).astype(int).tolist()) for xy in keypoints[:, :2]]
    for a, b in COCO_SKELETON:
        if keypoints[a, 2] and keypoints[b, 2]:
            cv2.line(image, at[a], at[b], (240, 240, 240), 1, cv2.LINE_AA)
    for centre, seen in zip(at, keypoints[:, 2].tolist(), strict=True):
        if seen:
            cv2.circle(image, centre, radius, _VISIBLE if seen == 2 else _HIDDEN, -1, cv2.LINE_AA)


def _put(image: np.ndarray, text: str, x: int, y: int, colour: tuple = _INK) -> None:
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, .38, colour, 1, cv2.LINE_AA)


def _words(record: PersonRecord) -> list[str]:
    true, facts = record.attributes, record.facts
    upper = f'{facts["upper pattern"]} {facts["upper colour"]} {facts["upper"]}'.replace(
        'plain ', '')
    lower = f'{facts["lower pattern"]} {facts["lower colour"]} {facts["lower"]}'.replace(
        'plain ', '')
    things = [facts['hat colour'] and f'{facts["hat colour"]} {facts["hat"]}', facts['glasses'],
              facts['bag'] and f'{facts["bag colour"]} {facts["bag"]}']
    return [
        f'id {record.identity}  camera {record.camera}  {true["viewpoint"]}  {facts["posture"]}',
        f'{true["age"]} {true["gender"]}, {facts["hair colour"]} {true["hair length"]}',
        f'{upper}, {true["sleeve"]}',
        f'{lower}, {facts["shoes colour"]} {facts["shoes"]}',
        ', '.join(thing for thing in things if thing) or 'no hat, glasses or bag']


def _cell(record: PersonRecord) -> np.ndarray:
    size = tuple(round(value * _ZOOM) for value in record.image.shape[1::-1])
    image = cv2.resize(record.image, size, interpolation=cv2.INTER_CUBIC)
    parsing = cv2.resize(record.parsing, size, interpolation=cv2.INTER_NEAREST)
    beside = overlay(image, parsing)
    draw_keypoints(beside, record.keypoints, _ZOOM, 3)
    x1, y1, x2, y2 = np.rint(np.array(record.box_full) * _ZOOM).astype(int).tolist()
    cv2.rectangle(beside, (x1, y1), (x2, y2), (250, 220, 60), 1)
    text = np.full((_TEXT_LINES * _LINE + 8, 2 * size[0], 3), _PAPER, np.uint8)
    for number, line in enumerate(_words(record)):
        _put(text, line, 4, (number + 1) * _LINE - 2)
    cell = np.vstack([np.hstack([image, beside]), text])
    return cv2.copyMakeBorder(cell, 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=(_PAPER,) * 3)


def _legend(width: int) -> np.ndarray:
    across = max(width // 150, 1)
    lines = -(-(len(LIP_CLASSES) - 1) // across)
    legend = np.full((lines * 20 + 10, width, 3), _PAPER, np.uint8)
    for number, (name, colour) in enumerate(zip(LIP_CLASSES[1:], LIP_PALETTE[1:], strict=True)):
        x, y = (number % across) * 150 + 8, (number // across) * 20 + 6
        cv2.rectangle(legend, (x, y), (x + 14, y + 13), colour, -1)
        _put(legend, name, x + 20, y + 12)
    return legend


def _scene(record: SceneRecord) -> np.ndarray:
    plain, beside = record.image.copy(), overlay(record.image, record.parsing)
    for person in record.people:
        draw_keypoints(beside, person.keypoints, 1., 2)
        for box, colour in ((person.box_full, (250, 220, 60)), (person.box_visible, _VISIBLE)):
            x1, y1, x2, y2 = np.rint(box).astype(int).tolist()
            cv2.rectangle(plain, (x1, y1), (x2, y2), colour, 1)
        _put(plain, str(person.identity), int(person.box_full[0]) + 2,
             max(int(person.box_full[1]) - 3, 10), (255, 255, 255))
    return np.vstack([plain, beside])

"""Backpacks, handbags, shoulder bags and things held in the hands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from .paint import Canvas, Fabric, Item, Shape, limb

if TYPE_CHECKING:
    from .figure import Figure

_CORNERS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)


def _box(figure: Figure, anchor: str, centre: tuple[float, float, float],
         half: tuple[float, float, float]) -> tuple[Shape, float]:
    """Rounded outline of a box in body coordinates, and the depth of its centre."""
    middle = figure.body[anchor] + centre
    corners = figure.places(middle + _CORNERS * half * (.86, .86, .86))
    radius = figure.scale * min(half) * .35
    shape = Shape(cv2.convexHull(np.concatenate([
        corner + radius * _RING for corner in corners]).astype(np.float32))[:, 0])
    return shape, figure.place(anchor, *centre)[1]


_RING = np.stack([np.cos(np.linspace(0, 2 * np.pi, 8, endpoint=False)),
                  np.sin(np.linspace(0, 2 * np.pi, 8, endpoint=False))], 1)


def _strap(figure: Figure, points: list[tuple[str, float, float, float]], width: float) -> Shape:
    path = [figure.place(*point)[0] for point in points]
    return limb(path, [figure.scale * width] * len(path))


def bag_items(figure: Figure) -> list[Item]:
    """Depth keys and painters of the person's bag; none where he has no bag."""
    bag = figure.look.bag
    if bag is None:
        return []
    cloth = Fabric(bag.colour.rgb)
    unit = figure.scale
    if bag.kind == 'backpack':
        return _backpack(figure, cloth, bag.second.rgb)
    if bag.kind == 'handbag':
        shape, _ = _box(figure, 'right_hand', (0, -.075, 0), (.022, .045, .062))
        grip = [('right_hand', 0, -.005, 0), ('right_hand', 0, -.035, .04)]
        grip2 = [('right_hand', 0, -.005, 0), ('right_hand', 0, -.035, -.04)]
        wrist = figure.depth['right_hand'] - figure.depth['chest']
        key = -3.5 if wrist < -.075 else .65 + wrist

        def handbag(canvas: Canvas) -> None:
            canvas.flat('bag', _strap(figure, grip, .004), bag.colour.rgb)
            canvas.flat('bag', _strap(figure, grip2, .004), bag.colour.rgb)
            canvas.layer('bag', shape, cloth, unit * .02, .6)
        return [(key, handbag)]
    shape, depth = _box(figure, 'pelvis', (.105, .0, -.01), (.026, .05, .065))
    front = [('right_shoulder', .035, .035, .0), ('chest', -.02, .02, .075), ('waist', .07, 0, .06),
             ('pelvis', .11, .045, .0)]
    back = [(name, x, y, -z) for name, x, y, z in front]

    def strap(canvas: Canvas) -> None:
        canvas.flat('bag', _strap(figure, front if figure.cos > 0 else back, .0065), bag.second.rgb)

    def bag_body(canvas: Canvas) -> None:
        canvas.layer('bag', shape, cloth, unit * .02, .6)
    return [(.1, strap), (.95 if depth > -.05 else -2.5, bag_body)]


def _backpack(figure: Figure, cloth: Fabric, trim: tuple[int, int, int]) -> list[Item]:
    unit = figure.scale
    shape, _ = _box(figure, 'chest', (0, -.035, -.115), (.082, .1, .042))
    pocket, _ = _box(figure, 'chest', (0, -.085, -.155), (.06, .035, .012))

    def pack(canvas: Canvas) -> None:
        canvas.layer('bag', shape, cloth, unit * .03, .6)
        if figure.cos < .1:
            canvas.layer('bag', pocket, cloth, unit * .01, .7)
            zip_line = [figure.place('chest', x, .02, -.16)[0] for x in (-.055, .055)]
            canvas.flat('bag', limb(zip_line, [unit * .004] * 2), trim)
        else:
            canvas.layer('bag', pocket, cloth, unit * .01, .7)

    items = [(.4 if figure.cos < -.3 else -.5, pack)]
    if figure.cos > -.3:
        for side in (1, -1):
            if -side * figure.sin < -.75:
                continue
            x = side * figure.look.shoulder * .62
            path = [('collar', x, -.005, -.01), ('chest', x, .03, .066), ('chest', x * 1.12, -.06,
                                                                           .055),
                    ('chest', x * 1.4, -.085, -.02)]
            items.append((.12, lambda canvas, path=path: canvas.layer(
                'bag', _strap(figure, path, .010), cloth, unit * .008, .5)))
    return items


def held_item(figure: Figure) -> Item:
    """The thing held with both hands before the body."""
    middle = .5 * (figure.body['left_hand'] + figure.body['right_hand']) - figure.body['pelvis']
    kind = figure.pose.holds
    half = {'box': (.085, .055, .05), 'book': (.05, .065, .012), 'bag': (.06, .07, .035)}[kind]
    colour = {'box': (176, 138, 92), 'book': (190, 60, 52), 'bag': (214, 214, 206)}[kind]
    lift = .02 if kind == 'box' else .01
    shape, depth = _box(figure, 'pelvis', (middle[0], middle[1] + lift, middle[2] + .01), half)
    near = depth > figure.depth['chest']

    def paint(canvas: Canvas) -> None:
        canvas.layer('bag', shape, Fabric(colour), figure.scale * .02, .5)
    return (.55 if near else -2.9, paint)

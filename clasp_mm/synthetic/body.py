"""Which layers make a figure, and which of them is in front of which."""

from __future__ import annotations

import numpy as np

from .background import put_seat
from .bags import bag_items, held_item
from .figure import Figure
from .lower import paint_hips, paint_leg
from .paint import Canvas, Fabric, Item
from .pose import SIDES
from .upper import paint_arm, paint_neck, paint_torso


def paint_figure(figure: Figure, canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint a settled figure, and the seat it sits on, far layers first."""
    items = [*_body_items(figure), *_hair_items(figure), *bag_items(figure)]
    if figure.pose.holds:
        items.append(held_item(figure))
    if figure.pose.kind == 'sitting':  # from behind, the seat hides the legs
        items.append((-.9 if figure.cos < -.3 else -9., lambda canvas: put_seat(
            canvas, *figure.xy['pelvis'].tolist(), figure.scale, rng)))
    for _, draw in sorted(items, key=lambda item: item[0]):
        draw(canvas)


def _body_items(figure: Figure) -> list[Item]:
    """Depth keys and painters: the torso is at 0, what is nearer is above."""
    items: list[Item] = [
        (0., lambda canvas: paint_torso(figure, canvas)), (.2, figure.head.paint),
        (-.06, lambda canvas: paint_neck(figure, canvas)),
        (-.7, lambda canvas: paint_hips(figure, canvas))]
    near = -.075 if abs(figure.cos) > .5 else -.02
    sitting = figure.pose.kind == 'sitting' and figure.cos > .3
    for name, _ in SIDES:
        reach = .5 * (figure.depth[f'{name}_elbow'] + figure.depth[f'{name}_hand'])
        reach -= figure.depth['chest']
        items.append((-3. + reach if reach < near else .6 + reach,
                      lambda canvas, name=name: paint_arm(figure, canvas, name)))
        knee = .5 * (figure.depth[f'{name}_knee'] + figure.depth[f'{name}_ankle'])
        items.append(((-.6 if sitting else -1.2) + .1 * knee,
                      lambda canvas, name=name: paint_leg(figure, canvas, name)))
    return items


def _hair_items(figure: Figure) -> list[Item]:
    head, items = figure.head, []
    hair = Fabric(figure.look.hair.rgb, grain='strands')
    loose = head.loose_hair()
    if loose is not None:
        back = head.place(0, 0, -.6)[1]
        key = .25 if back > .08 else (.15 if back > -.12 else -.4)
        items.append((key, lambda canvas: canvas.layer('hair', loose, hair, head.size * .14)))
    for lock in head.locks():
        items.append((.3, lambda canvas, lock=lock: canvas.layer('hair', lock, hair,
                                                                 head.size * .08)))
    return items

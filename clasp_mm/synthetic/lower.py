"""Legs, trousers, shorts, skirts, socks and shoes."""

from __future__ import annotations

import numpy as np

from .figure import Figure
from .paint import Canvas, Fabric, Shape, limb, tube


def paint_leg(figure: Figure, canvas: Canvas, name: str) -> None:
    """Paint the ``name`` ('left' or 'right') leg with all that it wears."""
    hip, knee, ankle = (figure.xy[f'{name}_{joint}'] for joint in ('hip', 'knee', 'ankle'))
    look = figure.look
    radii = [figure.girth(value) for value in (.051, .035, .021)]
    kind = 'dress' if look.upper.kind == 'dress' else look.lower.kind
    if kind != 'trousers':
        calf = knee + .36 * (ankle - knee)
        canvas.layer(f'{name} leg',
                     limb([hip, knee, calf, ankle], [*radii[:2], radii[1] * .98, radii[2]]),
                     Fabric(look.skin, grain='none'), radii[1] * .8)
        if look.socks:
            canvas.layer(f'{name} sock', limb([knee + .66 * (ankle - knee), ankle],
                                              [radii[2] * 1.4, radii[2] * 1.15]),
                         Fabric(look.socks.rgb), radii[2])
    if kind == 'trousers':
        hem = ankle + .02 * (ankle - knee)
        _tube_of_cloth(figure, canvas, name, [hip, knee, hem],
                       [radii[0] * 1.12, radii[1] * 1.24, radii[2] * 1.6])
    _paint_shoe(figure, canvas, name)
    if look.shoes.kind == 'boots':
        shin = knee + .42 * (ankle - knee)
        canvas.layer(f'{name} shoe', limb([shin, ankle], [radii[1] * 1.12, radii[2] * 1.45]),
                     Fabric(look.shoes.colour.rgb, grain='none'), radii[2] * 1.2, .6)
        cuff = shin + .07 * (ankle - shin)
        canvas.layer(f'{name} shoe', limb([shin, cuff], [radii[1] * 1.2] * 2, False, False),
                     Fabric(tuple(int(value * .75) for value in look.shoes.colour.rgb)), 2., .3)
    if kind == 'shorts':
        _tube_of_cloth(figure, canvas, name, [hip, hip + .84 * (knee - hip)],
                       [radii[0] * 1.16, radii[1] * 1.48])


def _tube_of_cloth(figure: Figure, canvas: Canvas, name: str, joints: list[np.ndarray],
                   radii: list[float]) -> None:
    """One leg of trousers or shorts, with its side stripe."""
    garment = figure.look.lower
    cloth = figure.fabric(garment, f'{name}_hip', joints[1] - joints[0])
    canvas.layer(f'{name} pants', limb(joints, radii, end=False), cloth, radii[1] * .85)
    if garment.pattern != 'side stripe':
        return
    side = 1 if name == 'left' else -1
    if -side * figure.sin < -.35:  # the outer seam is on the far side
        return
    shift = np.array([side * figure.cos * .72, 0])
    path = [joint + shift * radius for joint, radius in zip(joints, radii, strict=True)]
    canvas.flat(f'{name} pants', limb(path, [figure.scale * .009] * len(path)),
                garment.second.rgb)


def _paint_shoe(figure: Figure, canvas: Canvas, name: str) -> None:
    shoes, unit = figure.look.shoes, figure.scale
    heel, toe, ankle = (figure.xy[f'{name}_{joint}'] for joint in ('heel', 'toe', 'ankle'))
    small = .88 if figure.look.gender == 'female' else 1.
    radii = [unit * .020 * small, unit * .0165 * small]
    if shoes.kind == 'sneakers':
        sole = figure.down(.007)
        canvas.flat(f'{name} shoe', limb([heel + sole, toe + sole], radii), shoes.second.rgb)
    canvas.layer(f'{name} shoe', limb([ankle + figure.down(.008), heel, toe],
                                      [unit * .021, *radii]),
                 Fabric(shoes.colour.rgb, grain='none'), unit * .014, .6)
    if shoes.kind == 'sneakers':
        laces = [ankle + .35 * (toe - ankle), ankle + .62 * (toe - ankle)]
        canvas.flat(f'{name} shoe', limb(laces, [unit * .0055] * 2), shoes.second.rgb)


def paint_hips(figure: Figure, canvas: Canvas) -> None:
    """Paint what covers the hips between the legs and the torso."""
    look = figure.look
    if look.upper.kind == 'dress':
        return
    if look.lower.kind == 'skirt':
        canvas.layer('skirt', skirt(figure, .3, .93, .14), figure.fabric(look.lower, 'pelvis'),
                     figure.scale * .035, .6)
        return
    axis, half = figure.trunk(.0 if figure.pose.kind == 'sitting' else -.1, .3, .003)
    canvas.layer('pants', Shape(tube(axis, half)), figure.fabric(look.lower, 'pelvis'),
                 figure.scale * .03)


def skirt(figure: Figure, top: float, length: float, flare: float) -> Shape:
    """Outline of a flared tube from the trunk down, wide enough for the stride.

    Args:
        figure: Who wears it.
        top: Upper end as a level of the trunk.
        length: Lower end as a share of the way from hip to knee.
        flare: How much wider than the hips the hem is, at least.
    """
    knees = [figure.xy[f'{side}_knee'] for side in ('left', 'right')]
    axis, half = figure.trunk(0., top, .01)
    if figure.pose.kind == 'sitting':
        shape = Shape(tube(axis, half))
        for side, knee in zip(('left', 'right'), knees, strict=True):
            hip = figure.xy[f'{side}_hip']
            end = hip + min(length, .9) * (knee - hip)
            shape.join(limb([hip, end], [figure.girth(.062), figure.girth(.05)]))
        return shape
    middle = .5 * (knees[0] + knees[1])
    stride = abs(knees[0][0] - knees[1][0]) / 2
    hem = axis[0] + length * (middle - axis[0])
    wide = max(half[0] * (1 + flare), length * stride + figure.girth(.042))
    axis = np.concatenate([[hem, .5 * (hem + axis[0])], axis])
    half = np.concatenate([[wide, .5 * (wide + half[0]) * 1.01], half])
    return Shape(tube(axis, half))

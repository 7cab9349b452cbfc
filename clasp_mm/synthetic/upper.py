"""Torso, arms and neck with shirts, sweaters, jackets, coats, dresses and scarves."""

from __future__ import annotations

import numpy as np

from .figure import Figure
from .identity import Garment
from .lower import skirt
from .paint import Canvas, Fabric, Shape, limb, tube

_EASE = {'t-shirt': .009, 'polo': .009, 'shirt': .01, 'sweater': .013, 'hoodie': .016,
         'dress': .006, 'jacket': .018, 'coat': .019}


def _darker(rgb: tuple[int, int, int], share: float = .7) -> tuple[int, int, int]:
    return tuple(int(value * share) for value in rgb)


def _period(garment: Garment) -> float:
    return .17 if garment.pattern == 'splice' else .06


def paint_neck(figure: Figure, canvas: Canvas) -> None:
    """Paint the neck."""
    size = figure.head.size
    radius = size * (.19 if figure.look.gender == 'female' else .235)
    top = figure.xy['head'] + np.array([0, size * .2])
    canvas.layer('neck', limb([top, figure.xy['collar']], [radius, radius * 1.1]),
                 Fabric(_darker(figure.look.skin, .93), grain='none'), radius * .6, .6)


def paint_torso(figure: Figure, canvas: Canvas) -> None:
    """Paint the upper garments and the scarf."""
    look = figure.look
    inner, outer = look.upper, look.coat
    if inner.kind == 'dress':
        _paint_trunk(figure, canvas, 'dress', inner, .12, skirt(figure, .45, .92, .3))
        _paint_neckline(figure, canvas, .03)
    elif outer is None:
        _paint_trunk(figure, canvas, 'upper', inner, -.05)
        _paint_collar(figure, canvas, inner)
    else:
        if outer.kind == 'coat':
            _paint_trunk(figure, canvas, 'coat', outer, .05, skirt(figure, .4, .86, .12))
        else:
            _paint_trunk(figure, canvas, 'coat', outer, -.1)
        _paint_opening(figure, canvas, inner, outer)
    if look.scarf:
        _paint_scarf(figure, canvas)


def _paint_trunk(figure: Figure, canvas: Canvas, name: str, garment: Garment, low: float,
                 below: Shape | None = None) -> None:
    """A garment from level ``low`` of the trunk to the neck, with its skirt ``below``."""
    shape = Shape(tube(*figure.trunk(low, 1.03, _EASE[garment.kind])))
    if below is not None:
        shape.join(below)
    canvas.layer(name, shape,
                 figure.fabric(garment, 'collar', period=_period(garment)), figure.scale * .035)
    if garment.pattern == 'logo' and figure.cos > .15:
        middle, _ = figure.place('chest', 0, .03, .075)
        right, down = figure.across(.042 * figure.cos), figure.down(.022)
        canvas.flat(name, Shape(np.array([middle - right - down, middle + right - down,
                                          middle + right + down, middle - right + down])),
                    garment.second.rgb)
        for row in (-.007, .008):
            line = middle + figure.down(row)
            canvas.flat(name, limb([line - .7 * right, line + .7 * right],
                                   [figure.scale * .003] * 2), garment.colour.rgb)


def _paint_neckline(figure: Figure, canvas: Canvas, reach: float) -> None:
    """Skin in the opening at the throat, from the front."""
    if figure.cos < .25:
        return
    tip, _ = figure.place('collar', 0, -reach, .045)
    right = figure.across(.028 * figure.cos)
    base = figure.xy['collar'] - figure.down(.012)
    canvas.flat('neck', Shape(np.array([base - right, base + right, tip + .25 * right,
                                        tip - .25 * right])), _darker(figure.look.skin, .95))


def _paint_collar(figure: Figure, canvas: Canvas, garment: Garment) -> None:
    dark = _darker(garment.colour.rgb)
    unit = figure.scale
    if garment.kind == 'hoodie':
        hood, depth = figure.place('collar', 0, -.012, -.04)
        canvas.layer('upper', limb([hood - figure.across(.03 * abs(figure.cos)),
                                    hood + figure.across(.03 * abs(figure.cos)),
                                    hood + figure.down(.03 if depth > 0 else .005)],
                                   [unit * .03, unit * .03, unit * .03]),
                     Fabric(garment.colour.rgb), unit * .02, .8)
    _paint_neckline(figure, canvas, .05 if garment.kind in ('shirt', 'polo') else .024)
    if figure.cos < .25:
        return
    front = [figure.place(anchor, 0, rise, .07)[0]
             for anchor, rise in (('collar', -.05), ('chest', 0.), ('waist', 0.), ('pelvis', .0))]
    if garment.kind == 'shirt':
        canvas.flat('upper', limb(front, [unit * .0028] * 4), dark)
    elif garment.kind == 'hoodie':
        middle, _ = figure.place('pelvis', 0, .075, .08)
        right, down = figure.across(.05 * figure.cos), figure.down(.028)
        pocket = Shape(np.array([middle - .7 * right - down, middle + .7 * right - down,
                                 middle + right + down, middle - right + down]))
        canvas.layer('upper', pocket, Fabric(_darker(garment.colour.rgb, .9)), unit * .012,
                     .7)
    if garment.kind in ('shirt', 'polo'):
        base = figure.xy['collar'] - figure.down(.014)
        for side in (-1, 1):
            out = figure.across(.03 * figure.cos * side)
            tip = base + .75 * out + figure.down(.042)
            canvas.flat('upper', Shape(np.array([base + out, base + 1.35 * out + figure.down(.012),
                                                 tip, base + .3 * out + figure.down(.03)])), dark)


def _paint_opening(figure: Figure, canvas: Canvas, inner: Garment, outer: Garment) -> None:
    """Lapels and the inner garment between them, from the front; a collar from behind."""
    unit, dark = figure.scale, _darker(outer.colour.rgb)
    base = figure.xy['collar']
    if figure.cos < .25:
        collar = figure.across(.042 * max(abs(figure.cos), .6))
        canvas.layer('coat', limb([base - collar, base + collar], [unit * .017] * 2),
                     Fabric(dark), unit * .012, .5)
        return
    half = np.array([.5, .5, .36, .24]) * unit * .06 * figure.cos
    low = figure.body['pelvis'][1] - figure.body['waist'][1] + .01
    axis = np.stack([figure.place(anchor, 0, rise, .055)[0] for anchor, rise in
                     (('collar', .01), ('chest', 0.), ('waist', 0.), ('waist', low))])
    canvas.layer('upper', Shape(tube(axis, half)), figure.fabric(inner, 'collar'), unit * .012, .8)
    right = figure.across(.03 * figure.cos)
    canvas.flat('neck', Shape(np.array([axis[0] - right, axis[0] + right,
                                        axis[0] + figure.down(.035)])),
                _darker(figure.look.skin, .95))
    for side in (-1, 1):
        edge = axis[:2] + np.array([side * 1.15, 0]) * half[0]
        tip = edge[0] + .8 * (edge[1] - edge[0])
        canvas.layer('coat', Shape(np.array([edge[0] - figure.down(.012), tip,
                                             edge[0] + figure.across(side * .034 * figure.cos)
                                             + figure.down(.04)])), Fabric(dark), unit * .01, .4)
    seam = [axis[3] + figure.down(.0), figure.place('pelvis', 0, -.02, .06)[0]]
    canvas.flat('coat', limb(seam, [unit * .003] * 2), dark)


def _paint_scarf(figure: Figure, canvas: Canvas) -> None:
    unit, cloth = figure.scale, Fabric(figure.look.scarf.rgb)
    centre = figure.xy['collar'] - figure.down(.006)
    side = figure.across(.038)
    canvas.layer('scarf', limb([centre - side, centre + side], [unit * .024] * 2), cloth,
                 unit * .014, .7)
    if figure.cos > .2:
        end, _ = figure.place('chest', .02, -.05, .075)
        start = centre + .4 * side + figure.down(.01)
        canvas.layer('scarf', limb([start, end], [unit * .016, unit * .019]), cloth, unit * .01, .6)


def paint_arm(figure: Figure, canvas: Canvas, name: str) -> None:
    """Paint the ``name`` ('left' or 'right') arm with sleeve, hand and glove."""
    joints = [figure.xy[f'{name}_{joint}'] for joint in ('shoulder', 'elbow', 'wrist')]
    hand, look = figure.xy[f'{name}_hand'], figure.look
    radii = [figure.girth(value) for value in (.031, .025, .0165)]
    outer = look.outermost
    layer = 'dress' if outer.kind == 'dress' else ('coat' if look.coat else 'upper')
    skin = Fabric(look.skin, grain='none')
    palm = joints[2] + .45 * (hand - joints[2])
    tips = [radii[2], radii[2] * 1.3, radii[2] * .9]
    if look.sleeve == 'short':
        canvas.layer(f'{name} arm', limb([*joints, palm, hand], [*radii[:2], *tips]), skin,
                     radii[1] * .8)
        points = [joints[0], joints[0] + .6 * (joints[1] - joints[0])]
        wide = [radii[0] * 1.14, radii[1] * 1.42]
    else:
        if look.gloves:
            canvas.layer(f'{name} glove', limb([joints[2], palm, hand],
                                               [radius * 1.2 for radius in tips]),
                         Fabric(look.gloves.rgb), radii[2])
        else:
            canvas.layer(f'{name} arm', limb([joints[2], palm, hand], tips), skin, radii[2] * .8)
        ease = 1.3 if look.coat else 1.17
        points = joints
        wide = [radii[0] * ease, radii[1] * ease * 1.08, radii[2] * ease * 1.2]
    period = .12 if outer.pattern == 'splice' else .06
    canvas.layer(f'{name} {layer}', limb(points, wide, end=False),
                 figure.fabric(outer, f'{name}_shoulder', joints[1] - joints[0], period),
                 wide[1] * .8)

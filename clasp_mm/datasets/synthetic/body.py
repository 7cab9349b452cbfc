"""Dress a skeleton and paint it: limbs, garments, shoes and bags, far things first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .bags import bag_items, held_item
from .head import Head
from .identity import Garment, Look
from .paint import Canvas, Fabric, Shape, limb, tube
from .pose import SIDES, Pose, View, build_skeleton, project

# Levels of the trunk from the crotch to the collar: place between pelvis (0) and collar (1),
# half width and half depth in units of the stature for each gender.
_LEVELS = np.array([-.16, .02, .22, .45, .68, .88, .97, 1.03])
_TRUNK = {
    'male': (np.array([.072, .086, .083, .080, .095, .118, .085, .045]),
             np.array([.050, .062, .060, .060, .068, .060, .050, .035])),
    'female': (np.array([.078, .094, .082, .071, .084, .100, .074, .038]),
               np.array([.055, .070, .060, .054, .072, .055, .045, .032]))}

Item = tuple[float, Callable[[Canvas], None]]


class Figure:
    """One person in one posture.

    A fresh figure measures in units of its stature, with the origin on the ground under the
    pelvis; :meth:`settle` puts it on a canvas.

    Args:
        look: Who.
        pose: How he stands.
        view: Geometry of the camera.
    """

    def __init__(self, look: Look, pose: Pose, view: View) -> None:
        self.look, self.pose, self.view = look, pose, view
        self.cos, self.sin = float(np.cos(pose.yaw)), float(np.sin(pose.yaw))
        self.body = build_skeleton(look, pose)
        self._unit, depth, local = project(np.stack(list(self.body.values())), pose.yaw, view)
        self.depth = dict(zip(self.body, depth.tolist()))
        self.local = dict(zip(self.body, local.tolist()))
        self.settle(1., (0., 0.))

    def reach(self) -> tuple[float, float, float, float]:
        """Rough box around the whole figure: x1, y1, x2, y2 in units of the stature."""
        xy = self._unit
        top = xy[list(self.body).index('head'), 1] - .56 * self.look.head
        return (float(xy[:, 0].min() - .045), float(min(top, xy[:, 1].min() - .03)),
                float(xy[:, 0].max() + .045), float(xy[:, 1].max() + .03))

    def settle(self, scale: float, origin: tuple[float, float]) -> None:
        """Place the figure with ``scale`` pixels per stature and its origin at this pixel."""
        self.scale, self.origin = scale, np.asarray(origin, float)
        self.xy = dict(zip(self.body, self._unit * scale + self.origin))
        self.head = Head(self.look, self.xy['head'], self.look.head * scale * self.local['head'],
                         self.pose.yaw + self.pose.head_turn,
                         self.view.pitch + .35 * self.pose.lean)

    def place(self, anchor: str, left: float, up: float,
              forward: float) -> tuple[np.ndarray, float]:
        """Pixel and depth of a point given relative to a joint, in units of the stature."""
        point = (self.body[anchor] + (left, up, forward))[None]
        xy, depth, _ = project(point, self.pose.yaw, self.view)
        return xy[0] * self.scale + self.origin, float(depth[0])

    def places(self, points: np.ndarray) -> np.ndarray:
        """Pixels (n, 2) of body points (n, 3)."""
        return project(points, self.pose.yaw, self.view)[0] * self.scale + self.origin

    def trunk(self, first: float, last: float, ease: float) -> tuple[np.ndarray, np.ndarray]:
        """Axis (n, 2) and half widths (n,) in pixels of the trunk between two levels."""
        look = self.look
        wide, deep = _TRUNK[look.gender]
        levels = _LEVELS[(_LEVELS >= first - 1e-6) & (_LEVELS <= last + 1e-6)]
        levels = np.unique(np.concatenate([[first], levels, [last]]))
        girth = look.build * (.9 if look.age == 'child' else 1.)
        chest = np.interp(levels, [0, .5, .8, 1.2], [girth, girth, 1, 1])
        frame = look.shoulder / (.100 if look.gender == 'female' else .114)
        half = np.interp(levels, _LEVELS, wide) * chest * np.interp(
            levels, [0, .6, .85], [look.hip / (.062 if look.gender == 'female' else .055), 1, frame])
        thick = np.interp(levels, _LEVELS, deep) * chest
        if look.age == 'child':
            thick = thick * 1.1
        pelvis, collar = self.body['pelvis'], self.body['collar']
        spine = pelvis + levels[:, None] * (collar - pelvis)
        local = 1 + self.view.loom * (spine[:, 1] - .5)
        width = np.hypot(half * self.cos, thick * self.sin) + ease
        return self.places(spine), width * self.scale * local

    def girth(self, radius: float) -> float:
        """Pixels of a limb's radius given for an average adult."""
        thin = .92 if self.look.age == 'child' else 1.
        slim = .93 if self.look.gender == 'female' else 1.
        return radius * self.scale * (.4 + .6 * self.look.build) * thin * slim

    def paint(self, canvas: Canvas) -> None:
        """Paint all layers, far ones first."""
        for _, draw in sorted(self._items(), key=lambda item: item[0]):
            draw(canvas)

    def fabric(self, garment: Garment, anchor: str, axis: np.ndarray | None = None,
               period: float = .05, pattern: str | None = None) -> Fabric:
        """The garment's cloth, its pattern laid from a joint along an axis in pixels."""
        if axis is None:
            axis = self.xy['pelvis'] - self.xy['collar']
        axis = axis / max(float(np.hypot(*axis)), 1e-6)
        pattern = garment.pattern if pattern is None else pattern
        if pattern in ('logo', 'side stripe'):
            pattern = 'plain'
        return Fabric(garment.colour.rgb, garment.second.rgb, pattern, period * self.scale,
                      tuple(self.xy[anchor].tolist()), tuple(axis.tolist()))

    def _items(self) -> list[Item]:
        items: list[Item] = [(0., self._torso), (.2, self.head.paint), (-.06, self._neck)]
        behind = self.depth['chest']
        for name, side in SIDES:
            reach = .5 * (self.depth[f'{name}_elbow'] + self.depth[f'{name}_hand']) - behind
            spread = abs(self.cos) > .5
            far = reach < (-.075 if spread else -.02)
            items.append((-3. + reach if far else .6 + reach, self._arm(name, side)))
            knee = .5 * (self.depth[f'{name}_knee'] + self.depth[f'{name}_ankle'])
            sitting_front = self.pose.kind == 'sitting' and self.cos > .3
            items.append(((-.9 if sitting_front else -1.2) + .1 * knee, self._leg(name, side)))
        items.append((-.7, self._hips))
        loose = self.head.loose_hair()
        if loose is not None:
            back = self.head.place(0, 0, -.6)[1]
            hair = Fabric(self.look.hair.rgb, grain='strands')
            key = .25 if back > .08 else (.15 if back > -.12 else -.4)
            items.append((key, lambda canvas: canvas.layer('hair', loose, hair,
                                                           self.head.size * .14)))
        for lock in self.head.locks():
            hair = Fabric(self.look.hair.rgb, grain='strands')
            items.append((.3, lambda canvas, lock=lock: canvas.layer('hair', lock, hair,
                                                                     self.head.size * .08)))
        items += bag_items(self)
        if self.pose.holds:
            items.append(held_item(self))
        return items

    def _neck(self, canvas: Canvas) -> None:
        radius = self.head.size * (.19 if self.look.gender == 'female' else .235)
        top = self.xy['head'] + (0, self.head.size * .2)
        canvas.layer('neck', limb([top, self.xy['collar']], [radius, radius * 1.1]),
                     Fabric(self.look.skin, grain='none'), radius * .6, .6)

    def _leg(self, name: str, side: int) -> Callable[[Canvas], None]:
        hip, knee, ankle = (self.xy[f'{name}_{joint}'] for joint in ('hip', 'knee', 'ankle'))
        heel, toe = self.xy[f'{name}_heel'], self.xy[f'{name}_toe']
        look = self.look
        radii = [self.girth(value) for value in (.052, .037, .022)]
        bare = look.upper.kind == 'dress' or look.lower.kind != 'trousers'

        def paint(canvas: Canvas) -> None:
            skin = Fabric(look.skin, grain='none')
            calf = knee + .38 * (ankle - knee)
            if bare:
                canvas.layer(f'{name} leg',
                             limb([hip, knee, calf, ankle], [*radii[:2], radii[1] * .97, radii[2]]),
                             skin, radii[1] * .8)
                if look.socks:
                    canvas.layer(f'{name} sock', limb([knee + .62 * (ankle - knee), ankle],
                                                      [radii[2] * 1.25, radii[2] * 1.15]),
                                 Fabric(look.socks.rgb), radii[2])
            boots = look.shoes.kind == 'boots'
            trousers = look.lower.kind == 'trousers' and look.upper.kind != 'dress'
            if trousers:
                self._trouser(canvas, name, [hip, knee, ankle], radii)
            self._shoe(canvas, name, heel, toe, ankle)
            if boots:
                shin = knee + (.45 if trousers else .3) * (ankle - knee)
                canvas.layer(f'{name} shoe', limb([shin, ankle], [radii[1] * 1.12, radii[2] * 1.5]),
                             Fabric(look.shoes.colour.rgb), radii[2] * 1.2, .6)
            if look.lower.kind == 'shorts' and look.upper.kind != 'dress':
                end = hip + .82 * (knee - hip)
                cloth = self.fabric(look.lower, f'{name}_hip', knee - hip)
                canvas.layer(f'{name} pants', limb([hip, end], [radii[0] * 1.22, radii[1] * 1.5],
                                                   ends=False)
                             .add(_disc(hip, radii[0] * 1.22)), cloth, radii[0] * .8)
                self._side_stripe(canvas, name, [hip, end], radii[0])
        return paint

    def _trouser(self, canvas: Canvas, name: str, joints: list[np.ndarray],
                 radii: list[float]) -> None:
        hip, knee, ankle = joints
        hem = ankle + .02 * (ankle - knee)
        wide = [radii[0] * 1.14, radii[1] * 1.22, radii[2] * 1.65]
        cloth = self.fabric(self.look.lower, f'{name}_hip', knee - hip)
        shape = limb([hip, knee, hem], wide, ends=False).add(_disc(hip, wide[0]))
        canvas.layer(f'{name} pants', shape, cloth, wide[1] * .85)
        self._side_stripe(canvas, name, [hip, knee, hem], wide[1])

    def _side_stripe(self, canvas: Canvas, name: str, joints: list[np.ndarray],
                     radius: float) -> None:
        if self.look.lower.pattern != 'side stripe':
            return
        side = 1 if name == 'left' else -1
        facing = -side * self.sin  # how far the outer seam turns towards the camera
        if facing < -.35:
            return
        shift = np.array([side * self.cos * radius * .72, 0])
        canvas.layer(f'{name} pants', limb([joint + shift for joint in joints],
                                           [self.scale * .009] * len(joints)),
                     Fabric(self.look.lower.second.rgb), 2, .1)

    def _shoe(self, canvas: Canvas, name: str, heel: np.ndarray, toe: np.ndarray,
              ankle: np.ndarray) -> None:
        shoes, unit = self.look.shoes, self.scale
        small = .88 if self.look.gender == 'female' else 1.
        radii = [unit * .021 * small, unit * .0175 * small]
        if shoes.kind == 'sneakers':
            drop = np.array([0, unit * .007])
            canvas.layer(f'{name} shoe', limb([heel + drop, toe + drop], radii),
                         Fabric(shoes.second.rgb, grain='none'), 2, .2)
        canvas.layer(f'{name} shoe', limb([ankle + (0, unit * .008), heel, toe],
                                          [unit * .022, *radii]),
                     Fabric(shoes.colour.rgb, grain='none'), unit * .014, .6)

    def _hips(self, canvas: Canvas) -> None:
        look = self.look
        if look.upper.kind == 'dress':
            return
        if look.lower.kind == 'skirt':
            self._skirt(canvas, look.lower, 'skirt', .3, .12)
            return
        axis, half = self.trunk(-.16, .3, .004)
        if self.pose.kind == 'sitting':
            axis, half = axis[1:], half[1:]
        canvas.layer('pants', Shape(tube(axis, half)),
                     self.fabric(look.lower, 'pelvis', None), self.scale * .03)

    def _skirt(self, canvas: Canvas, garment: Garment, name: str, top: float,
               ease: float) -> None:
        """A flared tube from the waist to the knees, wide enough for the stride."""
        axis, half = self.trunk(0., top, .008)
        knees = np.stack([self.xy['left_knee'], self.xy['right_knee']])
        middle = knees.mean(0)
        if self.pose.kind == 'sitting':
            middle = middle + (0, self.scale * .012)
        stride = np.abs(knees[:, 0] - middle[0]).max()
        flare = max(half[0] * (1.12 + ease), stride + self.girth(.043))
        hem = axis[0] + .93 * (middle - axis[0])
        if float(np.hypot(*(hem - axis[0]))) < .06 * self.scale:
            hem = axis[0] + (0, .06 * self.scale)
        axis = np.concatenate([[hem, .45 * hem + .55 * axis[0]], axis])
        half = np.concatenate([[flare, .5 * (flare + half[0])], half])
        canvas.layer(name, Shape(tube(axis, half)), self.fabric(garment, 'pelvis', None),
                     self.scale * .035, .6)

    def _torso(self, canvas: Canvas) -> None:
        look = self.look
        inner, outer = look.upper, look.coat
        if inner.kind == 'dress':
            self._skirt(canvas, inner, 'dress', .4, .2)
            self._trunk_layer(canvas, 'dress', inner, .1, .008)
        elif outer is None:
            loose = {'t-shirt': .009, 'polo': .009, 'shirt': .01, 'sweater': .014,
                     'hoodie': .018}[inner.kind]
            self._trunk_layer(canvas, 'upper', inner, -.04, loose)
            self._collar(canvas, inner, 'upper')
        else:
            if outer.kind == 'coat':
                self._skirt_of_coat(canvas, outer)
            self._trunk_layer(canvas, 'coat', outer, -.08, .019)
            self._opening(canvas, inner, outer)
        if look.scarf:
            centre = self.xy['collar'] - (0, self.scale * .004)
            wide = .055 * self.scale
            canvas.layer('scarf', limb([centre - (wide * .7, 0), centre + (wide * .7, 0)],
                                       [self.scale * .026] * 2), Fabric(look.scarf.rgb),
                         self.scale * .014, .7)
            if self.cos > .2:
                end, _ = self.place('chest', .02, -.06, .07)
                canvas.layer('scarf', limb([centre, end], [self.scale * .018] * 2),
                             Fabric(look.scarf.rgb), self.scale * .01, .6)

    def _trunk_layer(self, canvas: Canvas, name: str, garment: Garment, low: float,
                     ease: float) -> None:
        axis, half = self.trunk(low, 1.03, ease)
        cloth = self.fabric(garment, 'collar', None,
                            .16 if garment.pattern == 'splice' else .06)
        canvas.layer(name, Shape(tube(axis, half)), cloth, self.scale * .035, .55)
        if garment.pattern == 'logo' and self.cos > .15:
            up, _ = self.place('chest', 0, .03, .075)
            wide = self.scale * .042 * self.cos
            badge = Shape(np.array([up + (-wide, -.02 * self.scale), up + (wide, -.02 * self.scale),
                                    up + (wide, .022 * self.scale),
                                    up + (-wide, .022 * self.scale)]))
            canvas.layer(name, badge, Fabric(garment.second.rgb, grain='none'), 2, .1)
            for row in (-.006, .008):
                line = [up + (-.7 * wide, row * self.scale), up + (.7 * wide, row * self.scale)]
                canvas.layer(name, limb(line, [self.scale * .003] * 2),
                             Fabric(garment.colour.rgb, grain='none'), 1, .1)

    def _skirt_of_coat(self, canvas: Canvas, coat: Garment) -> None:
        axis, half = self.trunk(0., .4, .02)
        knees = np.stack([self.xy['left_knee'], self.xy['right_knee']])
        middle = knees.mean(0)
        stride = np.abs(knees[:, 0] - middle[0]).max()
        hem = axis[0] + .9 * (middle - axis[0])
        flare = max(half[0] * 1.14, .8 * stride + self.girth(.04))
        axis = np.concatenate([[hem], axis])
        half = np.concatenate([[flare], half])
        canvas.layer('coat', Shape(tube(axis, half)),
                     self.fabric(coat, 'collar', None, .16 if coat.pattern == 'splice' else .06),
                     self.scale * .035, .6)

    def _collar(self, canvas: Canvas, garment: Garment, name: str) -> None:
        skin = Fabric(self.look.skin, grain='none')
        if garment.kind == 'hoodie':
            low, depth = self.place('collar', 0, -.02, -.045)
            radius = self.scale * (.05 if depth > 0 else .04)
            canvas.layer(name, Shape(tube(np.stack([low - (0, radius * .9), low + (0, radius)]),
                                          np.array([radius, radius * .9]))),
                         self.fabric(garment, 'collar', None, pattern='plain'), radius * .5, .8)
        if self.cos > .25:
            reach = .05 if garment.kind in ('shirt', 'polo') else .022
            tip, _ = self.place('collar', 0, -reach, .045)
            wide = self.scale * .028 * self.cos
            base = self.xy['collar'] - (0, self.scale * .012)
            canvas.layer('neck', Shape(np.array([base - (wide, 0), base + (wide, 0), tip])), skin,
                         2, .2)

    def _opening(self, canvas: Canvas, inner: Garment, outer: Garment) -> None:
        """The inner garment between the lapels of a coat, from the front."""
        if self.cos < .3:
            return
        top = self.scale * .03 * self.cos
        axis = [self.place(anchor, 0, rise, .06)[0]
                for anchor, rise in (('collar', -.0), ('chest', .0), ('waist', .0), ('pelvis', .02))]
        half = np.array([top, top * .95, top * .7, top * .5])
        canvas.layer('upper', Shape(tube(np.stack(axis), half)),
                     self.fabric(inner, 'collar', None), self.scale * .012, .8)
        skin = Shape(np.array([axis[0] - (top, top * .3), axis[0] + (top, -top * .3),
                               axis[0] + (0, self.scale * .03)]))
        canvas.layer('neck', skin, Fabric(self.look.skin, grain='none'), 2, .2)

    def _arm(self, name: str, side: int) -> Callable[[Canvas], None]:
        joints = [self.xy[f'{name}_{joint}'] for joint in ('shoulder', 'elbow', 'wrist')]
        hand = self.xy[f'{name}_hand']
        look = self.look
        radii = [self.girth(value) for value in (.034, .026, .019)]
        outer = look.outermost
        layer = 'dress' if outer.kind == 'dress' else ('coat' if look.coat else 'upper')

        def paint(canvas: Canvas) -> None:
            skin = Fabric(look.skin, grain='none')
            if look.sleeve == 'short':
                canvas.layer(f'{name} arm', limb([*joints, hand], [*radii, radii[2] * 1.1]), skin,
                             radii[1] * .8)
                end = joints[0] + .62 * (joints[1] - joints[0])
                points, wide = [joints[0], end], [radii[0] * 1.2, radii[1] * 1.45]
            else:
                if look.gloves:
                    canvas.layer(f'{name} glove', limb([joints[2], hand],
                                                       [radii[2] * 1.15, radii[2] * 1.35]),
                                 Fabric(look.gloves.rgb), radii[2])
                else:
                    canvas.layer(f'{name} arm', limb([joints[2], hand],
                                                     [radii[2] * .9, radii[2] * 1.15]), skin,
                                 radii[2] * .8)
                ease = 1.36 if look.coat else 1.22
                points = joints
                wide = [radii[0] * ease, radii[1] * ease * 1.08, radii[2] * ease * 1.1]
            pattern = outer.pattern
            cloth = self.fabric(outer, f'{name}_shoulder', joints[1] - joints[0],
                                .12 if pattern == 'splice' else .06)
            canvas.layer(f'{name} {layer}', limb(points, wide, ends=False)
                         .add(_disc(points[0], wide[0])), cloth, wide[1] * .8)
        return paint


def _disc(centre: np.ndarray, radius: float) -> np.ndarray:
    return limb([centre, centre], [radius, radius]).polygons[1]

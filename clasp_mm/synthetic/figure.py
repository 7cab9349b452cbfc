"""A person in a posture: where body points and garment outlines fall in the picture."""

from __future__ import annotations

import math

import numpy as np

from .head import Head
from .identity import Garment, Look
from .paint import Fabric
from .pose import Pose, View, build_skeleton, project

# Levels of the trunk from the crotch to the collar: place between pelvis (0) and collar (1),
# half width and half depth in units of the stature for each gender.
_LEVELS = np.array([-.16, .02, .22, .45, .68, .85, .95, 1.03])
_TRUNK = {
    'male': (np.array([.070, .083, .081, .080, .094, .112, .086, .046]),
             np.array([.050, .062, .060, .060, .068, .060, .050, .035])),
    'female': (np.array([.078, .091, .081, .071, .083, .096, .073, .038]),
               np.array([.055, .070, .060, .054, .072, .055, .045, .032]))}
_USUAL_HIP = {'male': .055, 'female': .062}
_USUAL_SHOULDER = {'male': .104, 'female': .091}


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
        self.depth = dict(zip(self.body, depth.tolist(), strict=True))
        self.local = dict(zip(self.body, local.tolist(), strict=True))
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
        self.xy = dict(zip(self.body, self._unit * scale + self.origin, strict=True))
        self.head = Head(self.look, self.xy['head'], self.look.head * scale * self.local['head'],
                         self.pose.yaw + self.pose.head_turn,
                         self.view.pitch + .35 * self.pose.lean)

    def down(self, share: float) -> np.ndarray:
        """A step of ``share`` statures down in the picture, (2,) pixels."""
        return np.array([0., share * self.scale])

    def across(self, share: float) -> np.ndarray:
        """A step of ``share`` statures to the right in the picture, (2,) pixels."""
        return np.array([share * self.scale, 0.])

    def place(self, anchor: str, left: float, up: float,
              forward: float) -> tuple[np.ndarray, float]:
        """Pixel and depth of a point given relative to a joint, in units of the stature."""
        x, y, z = self.body[anchor]
        left, up, forward = x + left, y + up, z + forward
        # As project() does, without the cost of arrays for one point.
        pitch, loom = self.view.pitch, self.view.loom
        depth = forward * self.cos - left * self.sin
        across = (left * self.cos + forward * self.sin) * (1 + loom * (up - .5))
        down = depth * math.sin(pitch) - (up + loom * .5 * (up * up - up)) * math.cos(pitch)
        at = np.array((across * self.scale, down * self.scale))
        return self.origin + at, float(depth)

    def places(self, points: np.ndarray) -> np.ndarray:
        """Pixels (n, 2) of body points (n, 3)."""
        return project(points, self.pose.yaw, self.view)[0] * self.scale + self.origin

    def trunk(self, first: float, last: float, ease: float) -> tuple[np.ndarray, np.ndarray]:
        """Outline of the trunk between two levels, 0 the pelvis and 1 the collar.

        Args:
            first: Lower level.
            last: Upper level.
            ease: Room between body and cloth, in units of the stature.

        Returns:
            Axis (n, 2) and half widths (n,) in pixels, from below.
        """
        look = self.look
        wide, deep = _TRUNK[look.gender]
        inside = (_LEVELS > first + .03) & (_LEVELS < last - .03)
        levels = np.concatenate([[first], _LEVELS[inside], [last]])
        girth = look.build * (.9 if look.age == 'child' else 1.)
        chest = np.interp(levels, [.5, .8], [girth, 1.])
        frame = np.interp(levels, [0, .6, .85], [look.hip / _USUAL_HIP[look.gender], 1.,
                                                 look.shoulder / _USUAL_SHOULDER[look.gender]])
        half = np.interp(levels, _LEVELS, wide) * chest * frame
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

    def fabric(self, garment: Garment, anchor: str, axis: np.ndarray | None = None,
               period: float = .05) -> Fabric:
        """The garment's cloth, its pattern laid from a joint along an axis in pixels."""
        if axis is None:
            axis = self.xy['pelvis'] - self.xy['collar']
        axis = axis / max(float(np.hypot(*axis)), 1e-6)
        pattern = 'plain' if garment.pattern in ('logo', 'side stripe') else garment.pattern
        return Fabric(garment.colour.rgb, garment.second.rgb, pattern, period * self.scale,
                      tuple(self.xy[anchor].tolist()), tuple(axis.tolist()))

"""Head, face, hair, hat and glasses."""

from __future__ import annotations

import math

import cv2
import numpy as np

from .identity import Garment, Look
from .paint import Canvas, Fabric, Shape, ellipse, limb, tube

_HEAD_WIDTH, _HEAD_DEPTH = .37, .46  # half axes over the head's height


class Head:
    """The head of one figure: an ellipsoid whose every pixel knows its place on the skull.

    Args:
        look: Whose head.
        centre: (2,) pixels.
        size: Height of the head in pixels.
        yaw: Direction faced, radians.
        pitch: Downward tilt of the camera plus the nod, radians.
    """

    def __init__(self, look: Look, centre: np.ndarray, size: float, yaw: float,
                 pitch: float) -> None:
        self.look, self.centre, self.size = look, np.asarray(centre, float), size
        self.cos, self.sin = math.cos(yaw), math.sin(yaw)
        self.pitch_cos, self.pitch_sin = math.cos(pitch), math.sin(pitch)
        self.a = size * np.hypot(_HEAD_WIDTH * self.cos, _HEAD_DEPTH * self.sin)
        self.b = size * .5

    def place(self, x: float, up: float, forward: float) -> tuple[np.ndarray, float]:
        """Pixel (2,) and depth of a point given on the unit head: left, up, forward."""
        x, up, forward = x * _HEAD_WIDTH, up * .5, forward * _HEAD_DEPTH
        size = self.size
        across = x * self.cos + forward * self.sin
        depth = forward * self.cos - x * self.sin
        down = depth * self.pitch_sin - up * self.pitch_cos
        towards = depth * self.pitch_cos + up * self.pitch_sin
        return self.centre + np.array((across * size, down * size)), towards

    def path(self, points: np.ndarray) -> np.ndarray:
        """Pixels (n, 2) of points (n, 3) given on the unit head."""
        x, up, forward = (points * (_HEAD_WIDTH, .5, _HEAD_DEPTH)).T
        depth = forward * self.cos - x * self.sin
        return self.centre + self.size * np.stack(
            [x * self.cos + forward * self.sin,
             depth * self.pitch_sin - up * self.pitch_cos], 1)

    def landmarks(self) -> dict[str, tuple[np.ndarray, float]]:
        """COCO's five head keypoints: pixel and facing (positive towards the camera)."""
        return {'nose': self.place(0, -.16, 1.08), 'left_eye': self.place(.4, .04, .9),
                'right_eye': self.place(-.4, .04, .9), 'left_ear': self.place(1., -.06, -.08),
                'right_ear': self.place(-1., -.06, -.08)}

    def _skull(self, x0: int, y0: int, width: int, height: int, grow: float) -> tuple:
        """Radius and place on the grown skull of each pixel of a patch."""
        u = (np.arange(x0, x0 + width, dtype=np.float32) - self.centre[0]) / (self.a * grow)
        v = (np.arange(y0, y0 + height, dtype=np.float32) - self.centre[1]) / (self.b * grow)
        jaw = 1 - .26 * np.clip(v, 0, 1.2)**2
        u = u[None] / jaw[:, None]
        v = np.broadcast_to(v[:, None], u.shape)
        radius = u * u + v * v
        near = np.sqrt(np.clip(1 - radius, 0, 1))
        up = -v * self.pitch_cos + near * self.pitch_sin
        near = near * self.pitch_cos + v * self.pitch_sin
        forward = u * self.sin + near * self.cos
        return radius, up, forward

    def paint(self, canvas: Canvas) -> None:
        """Paint skull, face, cap of hair, glasses and hat."""
        look, size = self.look, self.size
        skin = Fabric(look.skin, grain='none')
        for side in (1, -1):
            ear, _ = self.place(side * .97, -.06, -.1)
            canvas.layer('face', Shape(ellipse(ear, size * (.045 + .05 * abs(self.sin)),
                                               size * .105)), skin, size * .05)
        pad = int(size * .58) + 1
        x0, y0 = int(self.centre[0]) - pad, int(self.centre[1]) - pad
        patch = (x0, y0, 2 * pad + 1, 2 * pad + 1)
        hairy = 1.02 if look.hair_style == 'bald' else 1.1
        radius, up, forward = self._skull(*patch, hairy)
        face = (radius <= 1 / hairy**2).view(np.uint8) * np.uint8(255)
        canvas.mask_layer('face', face, x0, y0, skin, canvas.shading(face, size * .16, .5))
        self._features(canvas)
        line = {'bald': .62, 'long': -.02, 'bob': -.06, 'ponytail': .06, 'bun': .06}.get(
            look.hair_style, .03)
        field = up - .8 * forward + .06 * np.cos(forward * 9)
        low = -.95 if look.hair_style in ('bob', 'long') else -.55
        hair = ((radius <= 1) & (field > line) & (up > low)).view(np.uint8) * np.uint8(255)
        canvas.mask_layer('hair', hair, x0, y0, Fabric(look.hair.rgb, grain='strands'),
                          canvas.shading(hair, size * .14, .55))
        if look.glasses:
            self._glasses(canvas)
        if look.hat is not None:
            self._hat(canvas, look.hat)

    def _features(self, canvas: Canvas) -> None:
        size, look = self.size, self.look
        dark = tuple(int(value * .62) for value in look.skin)
        blush = tuple(int(value * k) for value, k in zip(look.skin, (.86, .58, .56), strict=True))
        brow = tuple(int(value * .8) for value in look.hair.rgb)
        for side in (1, -1):
            eye, towards = self.place(side * .4, .02, .88)
            if towards < .1:
                continue
            wide = max(.35, min(1., towards / .34))
            canvas.flat('face', Shape(ellipse(eye, size * .075 * wide, size * .036)),
                        (236, 234, 230))
            pupil, _ = self.place(side * .4, .02, .9)
            canvas.flat('face', Shape(ellipse(pupil, size * .036 * wide, size * .038)),
                        (40, 30, 26))
            ends = [self.place(side * .22, .2, .97)[0], self.place(side * .6, .19, .78)[0]]
            canvas.flat('face', limb(ends, [size * .022] * 2), brow)
        nose, towards = self.place(0, -.2, 1.06)
        if towards > -.12:
            bridge, _ = self.place(0, .08, .98)
            canvas.layer('face', limb([bridge, nose], [size * .02, size * .05]),
                         Fabric(tuple(int(value * .9) for value in look.skin), grain='none'),
                         size * .05, .5)
            mouth = [self.place(x, -.5, z)[0] for x, z in ((-.25, .82), (0, .92), (.25, .82))]
            colour = blush if look.gender == 'female' else dark
            canvas.flat('face', limb(mouth, [size * .016, size * .03, size * .016]), colour)

    def _glasses(self, canvas: Canvas) -> None:
        size, look = self.size, self.look
        frame = (28, 26, 28)
        seen = [side for side in (1, -1) if self.place(side * .42, .02, .95)[1] > .08]
        for side in seen:
            eye, towards = self.place(side * .42, 0, .95)
            wide = max(.35, min(1., towards / .38))
            canvas.flat('glasses', Shape(ellipse(eye, size * .135 * wide, size * .1)), frame)
            if look.glasses == 'glasses':
                lens = tuple(int(value * .8 + 50) for value in look.skin)
                canvas.flat('glasses', Shape(ellipse(eye, size * .1 * wide, size * .068)), lens)
                canvas.flat('glasses', Shape(ellipse(eye, size * .029 * wide, size * .03)), frame)
            temple = [self.place(side * .85, .06, .5)[0], self.place(side * 1., .06, -.05)[0]]
            if self.place(side * 1., .06, .2)[1] > 0:
                canvas.flat('glasses', limb(temple, [size * .02] * 2), frame)

    def _hat(self, canvas: Canvas, hat: Garment) -> None:
        size = self.size
        cloth = Fabric(hat.colour.rgb)
        low = .2 if hat.kind == 'beanie' else .34
        turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        ring = np.stack([np.cos(turn) * 1.1, np.full(28, low), np.sin(turn) * 1.1], 1)
        crown = np.stack([np.cos(turn) * .8, np.full(28, 1.02), np.sin(turn) * .8], 1)
        top = np.stack([np.cos(turn) * .45, np.full(28, 1.24), np.sin(turn) * .45], 1)
        dome = cv2.convexHull(self.path(np.concatenate([ring, crown, top])).astype(np.float32))
        reach = 1.75 if hat.kind == 'sun hat' else 0
        if reach:
            brim = self.path(ring * (reach / 1.1, 1, reach / 1.1) - (0, .06, 0))
            low_edge = brim + np.array([0, size * .03])
            hull = cv2.convexHull(np.concatenate([brim, low_edge]).astype(np.float32))
            canvas.layer('hat', Shape(hull[:, 0]), cloth, size * .05)
        peak = None
        if hat.kind == 'cap':
            arc = np.linspace(.18 * np.pi, .82 * np.pi, 10)
            inner = np.stack([np.cos(arc) * 1.1, np.full(10, low + .02), np.sin(arc) * 1.1], 1)
            outer = np.stack([np.cos(arc) * 1.05, np.full(10, low - .14),
                              np.sin(arc) * 1.75], 1)
            peak = self.path(np.concatenate([inner, outer[::-1]]))
            peak = Shape(cv2.convexHull(peak.astype(np.float32))[:, 0])
        if peak is not None and self.cos < 0:
            canvas.layer('hat', peak, cloth, size * .06)
        canvas.layer('hat', Shape(dome[:, 0]), cloth, size * .16, .6)
        if hat.kind == 'sun hat':
            canvas.layer('hat', self._band(low, low + .17), Fabric(hat.second.rgb), size * .05)
        elif hat.kind == 'beanie':
            canvas.layer('hat', self._band(low - .02, low + .26), Fabric(hat.second.rgb),
                         size * .08)
        if peak is not None and self.cos >= 0:
            canvas.layer('hat', peak, Fabric(hat.second.rgb), size * .06)

    def _band(self, low: float, high: float) -> Shape:
        """The half that shows of a ring around the head between two heights."""
        turn = np.linspace(0, np.pi, 14)
        across, towards = np.cos(turn) * 1.11, np.sin(turn) * 1.11
        x = across * self.cos - towards * self.sin
        forward = across * self.sin + towards * self.cos
        lower = self.path(np.stack([x, np.full(14, low), forward], 1))
        upper = self.path(np.stack([x * .97, np.full(14, high), forward * .97], 1))
        return Shape(np.concatenate([lower, upper[::-1]]))

    def loose_hair(self) -> Shape | None:
        """Hair that hangs behind the head, or the bun on it."""
        style, size = self.look.hair_style, self.size
        if style == 'long':
            path = self.path(np.array([[0, .7, -.35], [0, 0, -.5], [0, -.9, -.5], [0, -1.9, -.62],
                                       [0, -2.5, -.55]]))
            half = (.86 * self.a, 1.08 * self.a, 1.12 * self.a, 1.05 * self.a, .55 * self.a)
            if abs(self.sin) > .6:
                half = (.6 * self.a, .62 * self.a, .5 * self.a, .48 * self.a, .25 * self.a)
            return Shape(tube(path, np.array(half)))
        if style == 'bob':
            path = self.path(np.array([[0, .6, -.2], [0, 0, -.3], [0, -.7, -.3], [0, -1.2, -.3]]))
            wide = .8 if abs(self.sin) > .6 else 1.
            return Shape(tube(path, np.array([.9, 1.12, 1.2, 1.0]) * wide * self.a))
        if style == 'ponytail':
            path = self.path(np.array([[0, .42, -1.], [0, .3, -1.5], [0, -.5, -1.62],
                                       [0, -1.5, -1.4], [0, -2.2, -1.3]]))
            return Shape(tube(path, np.array([.1, .16, .2, .16, .05]) * size))
        if style == 'bun':
            centre, _ = self.place(0, .62, -1.)
            return Shape(ellipse(centre, size * .2, size * .19))
        return None

    def locks(self) -> list[Shape]:
        """Strands of long hair that fall before the shoulders."""
        if self.look.hair_style != 'long':
            return []
        shapes = []
        for side in (1, -1):
            if self.place(side, 0, .1)[1] < -.12:
                continue
            path = self.path(np.array([[side * .95, .35, .05], [side * 1.12, -.4, .0],
                                       [side * 1.2, -1.2, .0], [side * 1.1, -2.1, .2]]))
            shapes.append(Shape(tube(path, np.array([.08, .12, .13, .04]) * self.size)))
        return shapes

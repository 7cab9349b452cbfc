"""A canvas of layers: every mask paints the picture and the ground truth together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from .words import LIP_CLASSES

# Layer name -> (LIP class, body segment). A canvas stores the index of the layer.
_LAYERS = {
    'nothing': ('Background', None),
    'object': ('Background', None),
    'bag': ('Background', 'bag'),
    'hat': ('Hat', 'head'), 'hair': ('Hair', 'hair'), 'face': ('Face', 'head'),
    'glasses': ('Sunglasses', 'head'), 'neck': ('Face', 'neck'), 'scarf': ('Scarf', 'torso'),
    'upper': ('Upper-clothes', 'torso'), 'dress': ('Dress', 'torso'), 'coat': ('Coat', 'torso'),
    'skirt': ('Skirt', 'hips'), 'pants': ('Pants', 'hips'),
    **{f'{side} {layer}': (lip.format(side.title()), f'{side} {segment}')
       for side in ('left', 'right')
       for layer, lip, segment in (
           ('arm', '{}-arm', 'arm'), ('upper', 'Upper-clothes', 'arm'), ('dress', 'Dress', 'arm'),
           ('coat', 'Coat', 'arm'), ('glove', 'Glove', 'arm'), ('leg', '{}-leg', 'leg'),
           ('pants', 'Pants', 'leg'), ('sock', 'Socks', 'leg'), ('shoe', '{}-shoe', 'leg'))},
}
_INDEX = {name: index for index, name in enumerate(_LAYERS)}
_SEGMENT = tuple(segment for _, segment in _LAYERS.values())
_LIP_OF_LAYER = np.array([LIP_CLASSES.index(lip) for lip, _ in _LAYERS.values()], np.uint8)
_LIP_OF_LAYER = np.pad(_LIP_OF_LAYER, (0, 256 - len(_LIP_OF_LAYER)))
_UNITY = 200  # the shading value that leaves a colour as it is
_TILE = 1024


@lru_cache(maxsize=4)
def _folds(fineness: int) -> np.ndarray:
    """Soft diagonal creases, (1024, 1024) uint8 around 128; the same for all seeds."""
    rng = np.random.default_rng(77)
    size = _TILE >> fineness
    noise = rng.normal(0, 1, (size, size)).astype(np.float32)
    result = np.zeros_like(noise)
    for length, width, angle in ((40, 3, 66), (30, 3, 112), (26, 2, 12)):
        kernel = np.zeros((91, 91), np.float32)
        cv2.ellipse(kernel, (45, 45), (length, width), angle, 0, 360, 1, -1)
        kernel = cv2.GaussianBlur(kernel, (0, 0), 4)
        crease = cv2.filter2D(noise, -1, kernel, borderType=cv2.BORDER_REFLECT)
        noise = np.roll(noise, (311, 177), (0, 1))
        result += crease / crease.std()
    weave = cv2.GaussianBlur(rng.normal(0, 1, result.shape).astype(np.float32), (0, 0), .8)
    tile = np.clip(127 + 5.5 * result + 1.2 * weave / weave.std(), 70, 186).astype(np.uint8)
    return np.tile(tile, (1 << fineness, 1 << fineness))


@lru_cache(maxsize=1)
def _strands() -> np.ndarray:
    """Hair-like vertical streaks, (1024, 1024) uint8 around 128; the same for all seeds."""
    rng = np.random.default_rng(78)
    noise = rng.normal(0, 1, (_TILE, _TILE)).astype(np.float32)
    streaks = cv2.GaussianBlur(noise, (0, 0), sigmaX=1.1, sigmaY=14)
    return np.clip(128 + 22 * streaks / streaks.std(), 50, 206).astype(np.uint8)


class Shape:
    """A union of polygons in pixels, filled as one mask."""

    def __init__(self, *polygons: np.ndarray) -> None:
        self.polygons = list(polygons)

    def join(self, other: Shape) -> Shape:
        """Take in the polygons of another shape."""
        self.polygons += other.polygons
        return self

    def bounds(self) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2."""
        points = np.concatenate(self.polygons) if len(self.polygons) > 1 else self.polygons[0]
        return (*points.min(0).tolist(), *points.max(0).tolist())

    def fill(self, targets: list[tuple[np.ndarray, int | tuple]], x0: int = 0, y0: int = 0) -> None:
        """Fill arrays whose corner is at pixel (x0, y0), each with its value."""
        for polygon in self.polygons:
            points = [((polygon - (x0, y0)) * 16 + .5).astype(np.int32)]
            for target, value in targets:
                cv2.fillPoly(target, points, value, cv2.LINE_8, 4)


_TURN = np.linspace(0, 2 * np.pi, 24, endpoint=False)
_COS, _SIN = np.cos(_TURN), np.sin(_TURN)
_ROUND = np.stack([_COS, _SIN], 1)
_HALF_TURN = np.linspace(.5 * np.pi, 1.5 * np.pi, 10)
_BACK = np.stack([np.cos(_HALF_TURN), np.sin(_HALF_TURN)], 1)  # half a disc behind the start
_FLAT = np.array([(0., 1.), (0., -1.)])


def ellipse(centre: np.ndarray, a: float, b: float) -> np.ndarray:
    """Outline of an ellipse, (24, 2)."""
    return _ROUND * (a, b) + centre


def limb(points: list[np.ndarray], radii: list[float], start: bool = True,
         end: bool = True) -> Shape:
    """Tapered tube through joints, round at its bends, and at its ends unless told otherwise."""
    shape, last = Shape(), len(points) - 2
    for index in range(last + 1):
        (x0, y0), (x1, y1) = points[index], points[index + 1]
        dx, dy = x1 - x0, y1 - y0
        length = (dx * dx + dy * dy) ** .5
        dx, dy = (dx / length, dy / length) if length > 1e-6 else (1., 0.)
        turn = np.array([(dx, dy), (-dy, dx)])
        near = _BACK if start or index > 0 else _FLAT
        far = _BACK if end or index < last else _FLAT
        shape.polygons.append(np.concatenate([
            near @ turn * radii[index] + (x0, y0), -(far @ turn) * radii[index + 1] + (x1, y1)]))
    return shape


@lru_cache(maxsize=8)
def _spline_weights(knots: int, samples: int) -> np.ndarray:
    """Catmull-Rom interpolation as a (samples, knots) matrix."""
    t = np.linspace(0, knots - 1, samples)
    base = np.clip(t.astype(int), 0, knots - 2)
    u = (t - base)[:, None]
    cubic = .5 * np.concatenate([
        -u + 2 * u**2 - u**3, 2 - 5 * u**2 + 3 * u**3, u + 4 * u**2 - 3 * u**3, -u**2 + u**3], 1)
    weights = np.zeros((samples, knots))
    for offset in range(4):
        np.add.at(weights, (np.arange(samples), np.clip(base - 1 + offset, 0, knots - 1)),
                  cubic[:, offset])
    return weights


def tube(centres: np.ndarray, half_widths: np.ndarray, samples: int = 22) -> np.ndarray:
    """Smooth outline around a curved axis, (2 * samples, 2).

    Args:
        centres: (n, 2) axis points, n >= 2.
        half_widths: (n,) distance of the outline from the axis, or (n, 2) for its left and right
            side as seen when looking along the axis.
        samples: Points on either side.
    """
    half_widths = np.asarray(half_widths, float)
    if half_widths.ndim == 1:
        half_widths = np.stack([half_widths, half_widths], 1)
    values = _spline_weights(len(centres), samples) @ np.concatenate(
        [np.asarray(centres, float), half_widths], 1)
    axis, left, right = values[:, :2], values[:, 2:3], values[:, 3:]
    tangent = np.empty_like(axis)
    tangent[1:-1] = axis[2:] - axis[:-2]
    tangent[0], tangent[-1] = axis[1] - axis[0], axis[-1] - axis[-2]
    tangent /= np.maximum(np.hypot(tangent[:, :1], tangent[:, 1:]), 1e-6)
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], 1)
    return np.concatenate([axis + normal * left, (axis - normal * right)[::-1]])


@dataclass(frozen=True)
class Fabric:
    """What fills a mask: a colour, or two in a pattern laid along an axis in pixels.

    ``origin`` and ``axis`` (a unit vector) place the pattern, ``period`` is its length.
    """

    colour: tuple[int, int, int]
    second: tuple[int, int, int] = (0, 0, 0)
    pattern: str = 'plain'
    period: float = 1.
    origin: tuple[float, float] = (0., 0.)
    axis: tuple[float, float] = (0., 1.)
    grain: str = 'folds'

    def choose(self, x0: int, y0: int, width: int, height: int) -> np.ndarray:
        """Weight of the second colour, (height, width) uint8 of 0..255."""
        ax, ay = self.axis
        x = (np.arange(x0, x0 + width) - self.origin[0]) * (256 / self.period)
        y = (np.arange(y0, y0 + height) - self.origin[1]) * (256 / self.period)
        # In periods, with eight binary places: integers are faster than floats to fold.
        along = (y * ay).astype(np.int32)[:, None] + (x * ax).astype(np.int32)
        if self.pattern == 'stripes':
            return ((along & 255) < 115).view(np.uint8) * np.uint8(255)
        if self.pattern == 'splice':
            return (along < 256).view(np.uint8) * np.uint8(255)
        across = (y * -ax).astype(np.int32)[:, None] + (x * ay).astype(np.int32)
        if self.pattern == 'plaid':
            return (((along & 255) < 100).view(np.uint8)
                    + ((across & 255) < 100).view(np.uint8)) * np.uint8(110)
        if self.pattern == 'dots':
            u = (along & 255) - 128
            v = ((across + ((along & 256) >> 1)) & 255) - 128
            return (u * u + v * v < 4900).view(np.uint8) * np.uint8(255)
        raise ValueError(f'no such pattern: {self.pattern!r}')


class Canvas:
    """An RGB picture in the making, with the layer and the person that each pixel shows.

    Args:
        image: (H, W, 3) uint8 RGB background; painted on in place.
        light: Where the light comes from, -1 (left) to 1 (right).
    """

    def __init__(self, image: np.ndarray, light: float) -> None:
        self.image = image
        self.owner = np.zeros(image.shape[:2], np.uint16)
        self.light = light
        self.person = 0
        self.extent: list[float] | None = None
        self.fineness = 0
        self._offset = (0, 0)

    def begin(self, person: int, unit: float, rng: np.random.Generator) -> None:
        """Start painting person number ``person`` (1..255), or things (0).

        The layer ``object`` is nobody's, whoever is being painted.

        Args:
            person: The number.
            unit: Pixels per stature, for the fineness of the creases.
            rng: Source of the creases' place.
        """
        self.person = person
        self.fineness = int(np.clip(np.round(np.log2(640 / max(unit, 1.))), 0, 2))
        self.extent = None
        self._offset = tuple(rng.integers(0, _TILE, 2).tolist())

    def layer(self, name: str, shape: Shape, fabric: Fabric, relief: float = 8.,
              depth: float = .5) -> None:
        """Paint one layer with rounded shading.

        Args:
            name: Layer, which fixes its LIP class and body segment.
            shape: Where.
            fabric: Colours.
            relief: Width in pixels of the shading at the edges.
            depth: How dark the far edge gets, 0 to 1.
        """
        x0, y0, x1, y1 = shape.bounds()
        self._extend(name, x0, y0, x1, y1)
        height, width = self.owner.shape
        pad = int(relief) + 1
        x0, y0 = max(int(np.floor(x0)) - pad, 0), max(int(np.floor(y0)) - pad, 0)
        x1, y1 = min(int(np.ceil(x1)) + pad + 1, width), min(int(np.ceil(y1)) + pad + 1, height)
        if x0 >= x1 or y0 >= y1:
            return
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        shape.fill([(mask, 255)], x0, y0)
        self._paint(name, mask, x0, y0, fabric, self.shading(mask, relief, depth))

    def flat(self, name: str, shape: Shape, colour: tuple[int, int, int]) -> None:
        """Paint a small layer in one unshaded colour."""
        self._extend(name, *shape.bounds())
        shape.fill([(self.image, colour), (self.owner, self._value(name))])

    def shading(self, mask: np.ndarray, relief: float, depth: float) -> np.ndarray:
        """Light on a rounded body with this outline, (h, w) uint8 where 200 changes nothing."""
        half = max(int(relief), 1)
        size = 2 * half + 1
        shift = round(half * .6 * self.light)
        lit = cv2.blur(mask, (size, size), anchor=(half - shift, half + half // 4),
                       borderType=cv2.BORDER_CONSTANT)
        return cv2.convertScaleAbs(lit, alpha=depth, beta=_UNITY + 8 - 255 * depth)

    def mask_layer(self, name: str, mask: np.ndarray, x0: int, y0: int, fabric: Fabric,
                   shade: np.ndarray) -> None:
        """Paint where ``mask`` (h, w) uint8 is 255; its corner (x0, y0) may be off the canvas."""
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            return
        self._extend(name, x0 + columns[0], y0 + rows[0], x0 + columns[-1], y0 + rows[-1])
        height, width = self.owner.shape
        top, left = max(rows[0], -y0), max(columns[0], -x0)
        bottom, right = min(rows[-1] + 1, height - y0), min(columns[-1] + 1, width - x0)
        if top < bottom and left < right:
            roi = (slice(top, bottom), slice(left, right))
            self._paint(name, np.ascontiguousarray(mask[roi]), x0 + left, y0 + top, fabric,
                        np.ascontiguousarray(shade[roi]))

    def _paint(self, name: str, mask: np.ndarray, x0: int, y0: int, fabric: Fabric,
               shade: np.ndarray) -> None:
        height, width = mask.shape
        if fabric.grain != 'none':
            tile = _folds(self.fineness) if fabric.grain == 'folds' else _strands()
            tx = (self._offset[0] + x0) % max(_TILE - width, 1)
            ty = (self._offset[1] + y0) % max(_TILE - height, 1)
            crop = tile[ty:ty + height, tx:tx + width]
            if crop.shape != mask.shape:
                crop = cv2.resize(crop, (width, height))
            shade = cv2.multiply(shade, crop, scale=1 / 128)
        if fabric.pattern == 'plain':
            paint = [cv2.convertScaleAbs(shade, alpha=value / _UNITY) for value in fabric.colour]
        else:
            second = fabric.choose(x0, y0, width, height)
            first = cv2.bitwise_not(second)
            paint = [
                cv2.multiply(shade, cv2.convertScaleAbs(second, alpha=(b - a) / 255, beta=a)
                             if b >= a else
                             cv2.convertScaleAbs(first, alpha=(a - b) / 255, beta=b),
                             scale=1 / _UNITY)
                for a, b in zip(fabric.colour, fabric.second, strict=True)]
        roi = (slice(y0, y0 + height), slice(x0, x0 + width))
        cv2.copyTo(cv2.merge(paint), mask, self.image[roi])
        cv2.copyTo(np.full(mask.shape, self._value(name), np.uint16), mask, self.owner[roi])

    def _value(self, name: str) -> int:
        return _INDEX[name] if name == 'object' else self.person << 8 | _INDEX[name]

    def _extend(self, name: str, x0: float, y0: float, x1: float, y1: float) -> None:
        if _LIP_OF_LAYER[_INDEX[name]]:
            box = self.extent
            self.extent = [x0, y0, x1, y1] if box is None else [
                min(box[0], x0), min(box[1], y0), max(box[2], x1), max(box[3], y1)]

    def shadow(self, centre: np.ndarray, a: float, b: float) -> None:
        """Darken a soft ellipse of half axes ``a`` and ``b`` on the ground."""
        height, width = self.owner.shape
        x0, y0 = max(int(centre[0] - 1.4 * a), 0), max(int(centre[1] - 1.4 * b), 0)
        x1, y1 = min(int(centre[0] + 1.4 * a), width), min(int(centre[1] + 1.4 * b), height)
        if x0 >= x1 or y0 >= y1:
            return
        u = (np.arange(x0, x1, dtype=np.float32) - centre[0]) / (1.4 * a)
        v = (np.arange(y0, y1, dtype=np.float32) - centre[1]) / (1.4 * b)
        light = np.minimum((u * u)[None] + (v * v)[:, None], 1) * 130 + 125
        light = light.astype(np.uint8)
        roi = self.image[y0:y1, x0:x1]
        roi[:] = cv2.multiply(roi, cv2.merge([light] * 3), scale=1 / 255)

    def segment_at(self, person: int, x: float, y: float) -> str | None:
        """Body segment of ``person`` that shows at a pixel; None outside or when hidden."""
        column, row = int(np.rint(x)), int(np.rint(y))
        height, width = self.owner.shape
        if not (0 <= column < width and 0 <= row < height):
            return None
        value = int(self.owner[row, column])
        return _SEGMENT[value & 255] if value >> 8 == person else None


def parsing_of(owner: np.ndarray, person: int) -> np.ndarray:
    """LIP classes of one person, (H, W) uint8, from a canvas's owner map."""
    parsing = cv2.LUT((owner & 255).astype(np.uint8), _LIP_OF_LAYER)
    parsing[(owner >> 8) != person] = 0
    return parsing


Item = tuple[float, Callable[[Canvas], None]]  # depth, nearer is more, and painter

"""Streets, halls and parks behind people, and the things that stand in front of them."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from .paint import Canvas, Fabric, Shape, ellipse

PLACES = 4
_PLACE = 31
_HEIGHT, _WIDTH, _HORIZON = 200, 700, 92


def _tone(rng: np.random.Generator, low: int, high: int, spread: float = 12) -> tuple:
    return tuple(np.clip(rng.uniform(low, high) + rng.normal(0, spread, 3), 0, 255).tolist())


def _shift(colour: tuple, by: float) -> tuple:
    return tuple(min(max(value + by, 0), 255) for value in colour)


def _ground(image: np.ndarray, rng: np.random.Generator) -> None:
    tone = np.array(_tone(rng, 85, 185))
    rows = np.linspace(.82, 1.08, _HEIGHT - _HORIZON)[:, None, None]
    image[_HORIZON:] = np.clip(tone * rows, 0, 255)
    kind = rng.integers(4)
    line = _shift(tuple(tone), rng.choice((-22, 22)))
    if kind == 0:  # paving in perspective
        vanish = rng.uniform(0, _WIDTH)
        for x in np.linspace(-3 * _WIDTH, 4 * _WIDTH, 60):
            cv2.line(image, (int(vanish + (x - vanish) * .12), _HORIZON), (int(x), _HEIGHT), line,
                     1, cv2.LINE_AA)
        for t in np.linspace(.05, 1, 9)**2:
            y = int(_HORIZON + t * (_HEIGHT - _HORIZON))
            cv2.line(image, (0, y), (_WIDTH, y), line, 1, cv2.LINE_AA)
    elif kind == 1:  # grass
        tone = np.array((rng.uniform(60, 100), rng.uniform(105, 140), rng.uniform(40, 70)))
        image[_HORIZON:] = np.clip(tone * rows, 0, 255)
    elif kind == 2:  # road with markings
        for y, thick in ((_HORIZON + 24, 3), (_HORIZON + 72, 6)):
            for x in range(int(rng.integers(60)), _WIDTH, 90):
                cv2.line(image, (x, y), (x + 46, y), (222, 220, 206), thick, cv2.LINE_AA)
        cv2.rectangle(image, (0, _HORIZON), (_WIDTH, _HORIZON + 9), _tone(rng, 130, 180), -1)
    noise = rng.normal(0, 6, (_HEIGHT - _HORIZON, _WIDTH, 1))
    image[_HORIZON:] = np.clip(image[_HORIZON:] + cv2.blur(noise, (5, 2))[..., None] * 2, 0, 255)


def _building(image: np.ndarray, rng: np.random.Generator, x: int, width: int) -> None:
    wall = _tone(rng, 70, 210, 18)
    top = int(rng.integers(-20, 30))
    cv2.rectangle(image, (x, top), (x + width, _HORIZON + 3), wall, -1)
    pane = _tone(rng, 40, 200, 20)
    columns, rows = int(rng.integers(2, 6)), int(rng.integers(2, 4))
    for i in range(columns):
        for j in range(rows):
            left = x + int((i + .22) * width / columns)
            up = top + 8 + int((j + .1) * (_HORIZON - top) / (rows + .3))
            box = (left, up), (left + int(.55 * width / columns),
                               up + int(.6 * (_HORIZON - top) / (rows + .3)))
            cv2.rectangle(image, *box, pane, -1)
            cv2.rectangle(image, *box, _shift(wall, -35), 1)
    if rng.random() < .6:
        door = x + int(rng.uniform(.1, .7) * width)
        cv2.rectangle(image, (door, _HORIZON - 44), (door + 24, _HORIZON + 3), _tone(rng, 30, 120),
                      -1)
    if rng.random() < .5:
        cv2.rectangle(image, (x, _HORIZON - 58), (x + width, _HORIZON - 48),
                      _tone(rng, 60, 220, 60), -1)


def _tree(image: np.ndarray, rng: np.random.Generator, x: int) -> None:
    base = _HORIZON + int(rng.integers(0, 18))
    cv2.line(image, (x, base), (x, base - 60), (84, 62, 46), int(rng.integers(4, 9)), cv2.LINE_AA)
    leaf = (rng.uniform(30, 90), rng.uniform(85, 135), rng.uniform(30, 65))
    for _ in range(26):
        centre = (x + int(rng.normal(0, 17)), base - 76 + int(rng.normal(0, 16)))
        cv2.circle(image, centre, int(rng.integers(6, 15)), _shift(leaf, rng.normal(0, 16)), -1,
                   cv2.LINE_AA)


def _car(image: np.ndarray, rng: np.random.Generator, x: int) -> None:
    y = _HORIZON + int(rng.integers(6, 22))
    paint = _tone(rng, 30, 220, 45)
    cv2.ellipse(image, (x + 42, y + 2), (46, 6), 0, 0, 360, _tone(rng, 30, 60, 3), -1, cv2.LINE_AA)
    cabin = np.array([(x + 14, y - 18), (x + 26, y - 34), (x + 58, y - 34), (x + 72, y - 18)])
    cv2.fillPoly(image, [cabin], _shift(paint, -12), cv2.LINE_AA)
    glass = np.array([(x + 20, y - 19), (x + 29, y - 31), (x + 55, y - 31), (x + 65, y - 19)])
    cv2.fillPoly(image, [glass], (92, 112, 126), cv2.LINE_AA)
    cv2.rectangle(image, (x, y - 20), (x + 84, y - 4), paint, -1)
    for wheel in (x + 17, x + 67):
        cv2.circle(image, (wheel, y - 3), 8, (28, 28, 30), -1, cv2.LINE_AA)
        cv2.circle(image, (wheel, y - 3), 3, (150, 150, 152), -1, cv2.LINE_AA)


def _furniture(image: np.ndarray, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(4, 10))):
        x = int(rng.integers(0, _WIDTH))
        kind = rng.integers(4)
        if kind == 0:  # lamp post
            cv2.line(image, (x, 0), (x, _HORIZON + 22), _tone(rng, 40, 110, 5), 3, cv2.LINE_AA)
        elif kind == 1:  # sign
            cv2.rectangle(image, (x, _HORIZON - 72), (x + 26, _HORIZON - 48),
                          _tone(rng, 60, 220, 70), -1)
            cv2.line(image, (x + 13, _HORIZON - 48), (x + 13, _HORIZON + 12), (90, 90, 92), 2)
        elif kind == 2:  # fence
            tone = _tone(rng, 50, 200)
            for step in range(0, 80, 7):
                cv2.line(image, (x + step, _HORIZON - 18), (x + step, _HORIZON + 12), tone, 1)
            cv2.line(image, (x, _HORIZON - 15), (x + 77, _HORIZON - 15), tone, 2)
        else:  # bin or box
            cv2.rectangle(image, (x, _HORIZON - 16), (x + 18, _HORIZON + 16),
                          _tone(rng, 40, 170, 30), -1)


@lru_cache(maxsize=256)
def panorama(seed: int, camera: int, place: int) -> np.ndarray:
    """A wide view at one place, (200, 700, 3) uint8 RGB, for crops to be cut from."""
    rng = np.random.default_rng([seed, _PLACE, camera, place])
    image = np.empty((_HEIGHT, _WIDTH, 3), np.uint8)
    sky = np.array((rng.uniform(150, 225), rng.uniform(170, 228), rng.uniform(185, 240)))
    fade = np.linspace(.85, 1.04, _HORIZON)[:, None, None]
    image[:_HORIZON] = np.clip(sky * fade, 0, 255)
    _ground(image, rng)
    x = int(rng.integers(-60, 20))
    while x < _WIDTH:
        width = int(rng.integers(60, 170))
        if rng.random() < .72:
            _building(image, rng, x, width)
        x += width + int(rng.integers(0, 30))
    for _ in range(int(rng.integers(1, 6))):
        _tree(image, rng, int(rng.integers(0, _WIDTH)))
    for _ in range(int(rng.integers(0, 4))):
        _car(image, rng, int(rng.integers(0, _WIDTH)))
    _furniture(image, rng)
    # Streets are duller than clothes.
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    image = cv2.addWeighted(image, .27, gray, .38, 45)
    return cv2.GaussianBlur(image, (0, 0), .8)


def cut_background(seed: int, camera: int, size: tuple[int, int],
                   rng: np.random.Generator) -> np.ndarray:
    """Cut a random window of one of the camera's places, (H, W, 3) uint8 RGB."""
    height, width = size
    view = panorama(seed, camera, int(rng.integers(PLACES)))
    tall = rng.uniform(.62, .98) * _HEIGHT
    wide = min(tall * width / height, _WIDTH - 2.)
    tall = wide * height / width
    top, left = rng.uniform(0, _HEIGHT - tall), rng.uniform(0, _WIDTH - wide)
    crop = view[int(top):int(top + tall) + 1, int(left):int(left + wide) + 1]
    if rng.random() < .5:
        crop = crop[:, ::-1]
    image = cv2.resize(np.ascontiguousarray(crop), (width, height),
                       interpolation=cv2.INTER_LINEAR)
    return cv2.convertScaleAbs(image, alpha=rng.uniform(.8, 1.15), beta=rng.uniform(-8, 8))


def put_obstacle(canvas: Canvas, rng: np.random.Generator) -> None:
    """Something between the camera and the people: a post, a bush, a bin, a car's roof, a board."""
    height, width = canvas.owner.shape
    span = min(width, .5 * height)  # of a scene, no more than a crop's share
    canvas.begin(0, height, rng)
    kind = ('post', 'bush', 'bin', 'car', 'board')[rng.integers(5)]
    x = rng.uniform(.05, .95) * width
    tone = tuple(int(value) for value in _tone(rng, 40, 190, 22))
    cloth = Fabric(tone, grain='none')
    if kind == 'post':
        wide = rng.uniform(.025, .07) * span
        shape = np.array([(x - wide, 0), (x + wide, 0), (x + wide, height), (x - wide, height)])
        canvas.layer('object', Shape(shape), cloth, max(wide, 2), .8)
    elif kind == 'bush':
        for _ in range(14):
            centre = np.array([x + rng.normal(0, .18) * span, height * rng.uniform(.86, 1.02)])
            leaf = tuple(int(value) for value in _shift(
                (52, 104, 44), rng.normal(0, 16)))
            radius = rng.uniform(.05, .09) * height
            canvas.layer('object', Shape(ellipse(centre, radius, radius)), Fabric(leaf),
                         radius * .4, .7)
    elif kind == 'bin':
        wide, top = rng.uniform(.14, .26) * span, height * rng.uniform(.68, .84)
        shape = np.array([(x - wide, top), (x + wide, top), (x + .88 * wide, height),
                          (x - .88 * wide, height)])
        canvas.layer('object', Shape(shape), cloth, wide * .3, .8)
        lid = ellipse(np.array([x, top]), wide * 1.05, wide * .18)
        dark = tuple(int(value) for value in _shift(tone, -25))
        canvas.layer('object', Shape(lid), Fabric(dark, grain='none'), 3, .3)
    elif kind == 'car':
        top, side = height * rng.uniform(.72, .88), rng.choice((-1, 1))
        edge = span * rng.uniform(.35, .9)
        xs = [0, edge * .55, edge * .85, edge] if side < 0 else [
            width, width - edge * .55, width - edge * .85, width - edge]
        shape = np.array([(xs[0], top), (xs[1], top), (xs[2], top + .06 * height),
                          (xs[3], height), (xs[0], height)])
        canvas.layer('object', Shape(shape), cloth, .02 * height, .6)
    else:
        wide, top = rng.uniform(.15, .4) * span, height * rng.uniform(.7, .9)
        shape = np.array([(x - wide, top), (x + wide, top), (x + wide, height), (x - wide, height)])
        canvas.layer('object', Shape(shape), cloth, 4, .4)


def put_seat(canvas: Canvas, x: float, y: float, unit: float, rng: np.random.Generator) -> None:
    """A bench or a box under somebody who sits at pixel (x, y), ``unit`` pixels tall."""
    tone = tuple(int(value) for value in _tone(rng, 60, 170, 25))
    wide, tall = rng.uniform(.16, .34) * unit, .27 * unit
    top = y + .045 * unit
    shape = np.array([(x - wide, top), (x + wide, top), (x + wide, top + tall),
                      (x - wide, top + tall)])
    canvas.layer('object', Shape(shape), Fabric(tone), .02 * unit, .6)
    lip = np.array([(x - wide * 1.04, top), (x + wide * 1.04, top),
                    (x + wide * 1.04, top + .035 * unit), (x - wide * 1.04, top + .035 * unit)])
    light = tuple(int(value) for value in _shift(tone, 22))
    canvas.layer('object', Shape(lip), Fabric(light), 2, .3)

"""Crops of synthetic people with exact ground truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from .annotate import boxes_of, keypoints_of, pa100k_of
from .background import cut_background, put_obstacle
from .body import paint_figure
from .camera import camera, draw_view, expose
from .figure import Figure
from .identity import Look, draw_look, draw_stranger
from .paint import Canvas, parsing_of
from .pose import draw_pose

_IMAGE = 11
_SUBJECT, _OTHER = 1, 2
_STRETCH = 1.7


@dataclass
class PersonRecord:
    """One person in one picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        parsing: (H, W) uint8, LIP's 20 classes; bags, held things, other people and obstacles
            are background. The neck counts as face, as do glasses of any kind as sunglasses.
        keypoints: (17, 3) float32 x, y, v in COCO's order. v is 2 visible, 1 inside the picture
            but hidden by the own body, a garment's far side, a thing or somebody, 0 outside.
            The positions are exact even where v is 0.
        box_full: x1, y1, x2, y2 of body and garments as if nothing hid them; may leave the image.
        box_visible: The same of the pixels that show; all zeros when none does.
        identity: Number of the identity within its seed.
        camera: Number of the camera.
        attributes: Attribute of the default vocabulary -> value. Viewpoint belongs to the picture,
            all else to the identity, seen or not (a backpack from the front, a cut-off skirt).
        pa100k: (26,) int8, 1 / 0 in the order of ``PA100K_ATTRIBUTES``; HoldObjectsInFront and
            the viewpoints belong to the picture.
        facts: Names of garments, colours and posture for captions; None where absent.
    """

    image: np.ndarray
    parsing: np.ndarray
    keypoints: np.ndarray
    box_full: tuple[float, float, float, float]
    box_visible: tuple[float, float, float, float]
    identity: int
    camera: int
    attributes: dict[str, str]
    pa100k: np.ndarray
    facts: dict[str, str | None]


@lru_cache(maxsize=8192)
def _look(seed: int, identity: int) -> Look:
    return draw_look(seed, identity)


class SyntheticPeople:
    """A data set of person crops that is drawn, not read.

    Image ``i`` depends on the arguments and ``i`` alone: neither on the order of access nor on
    the process. Different seeds share no identity and no background, but the same six cameras;
    take one seed per split. Images of one identity follow each other in the index, and go round
    the cameras, so that each has its share of every camera.

    Args:
        num_identities: Number of identities, >= 1; four by four they look alike.
        images_per_identity: Images of each, >= 1.
        seed: 0 <= seed < 2**32.
        size: Height and width of the crops in pixels, each >= 32.
        num_cameras: Number of cameras, >= 1; beyond six they are drawn at random.

    Raises:
        ValueError: When an argument is out of its range.
    """

    def __init__(self, num_identities: int, images_per_identity: int, seed: int = 0,
                 size: tuple[int, int] = (256, 128), num_cameras: int = 6) -> None:
        for name, value in (('num_identities', num_identities), ('num_cameras', num_cameras),
                            ('images_per_identity', images_per_identity)):
            if value < 1:
                raise ValueError(f'{name} must be at least 1, got {value}')
        if not 0 <= seed < 2**32:
            raise ValueError(f'seed must be in [0, 2**32), got {seed}')
        if len(size) != 2 or min(size) < 32:
            raise ValueError(f'size must be (height, width), each at least 32, got {size}')
        self.num_identities = int(num_identities)
        self.images_per_identity = int(images_per_identity)
        self.seed = int(seed)
        self.size = (int(size[0]), int(size[1]))
        self.num_cameras = int(num_cameras)

    def __len__(self) -> int:
        return self.num_identities * self.images_per_identity

    def __iter__(self) -> Iterator[PersonRecord]:
        return (self[index] for index in range(len(self)))

    def labels(self, index: int) -> tuple[int, int]:
        """Identity and camera of image ``index``, without drawing it."""
        index = self._check(index)
        identity, number = divmod(index, self.images_per_identity)
        return identity, (number + 7 * identity + self.seed) % self.num_cameras

    def look(self, identity: int) -> Look:
        """What an identity looks like in every image."""
        if not 0 <= identity < self.num_identities:
            raise IndexError(f'identity {identity} of {self.num_identities}')
        return _look(self.seed, identity)

    def __getitem__(self, index: int) -> PersonRecord:
        index = self._check(index)
        identity, number = self.labels(index)
        rng = np.random.default_rng([self.seed, _IMAGE, index])
        return draw_person(self.look(identity), identity, number, self.seed, self.size, rng)

    def _check(self, index: int) -> int:
        index = int(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f'index {index} of {len(self)} images')
        return index % len(self)


def draw_person(look: Look, identity: int, camera_index: int, seed: int, size: tuple[int, int],
                rng: np.random.Generator) -> PersonRecord:
    """Draw one crop of one person; see :class:`SyntheticPeople`."""
    device = camera(camera_index)
    height = size[0] * 2  # drawn at twice the size, then averaged
    view = draw_view(device, rng)
    figure = Figure(look, draw_pose(rng, look), view)
    width = _frame(figure, size[1] * 2, height, rng)
    canvas = Canvas(cut_background(seed, camera_index, (height, width), rng),
                    float(rng.uniform(-1, 1)))
    if rng.random() < .3:
        _passer_by(canvas, figure, seed, False, rng)
    put_figure(canvas, figure, _SUBJECT, rng)
    extent = canvas.extent
    if rng.random() < .2:
        _passer_by(canvas, figure, seed, True, rng)
    if rng.random() < .16:
        put_obstacle(canvas, rng)

    image = cv2.resize(canvas.image, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    columns = np.arange(size[1]) * width // size[1]
    parsing = parsing_of(np.ascontiguousarray(canvas.owner[::2, columns]), _SUBJECT)
    shrink = (size[1] / width, .5)
    box_full, box_visible = boxes_of(extent, parsing, shrink)
    attributes = look.attributes()
    attributes['viewpoint'] = figure.pose.viewpoint
    return PersonRecord(
        image=expose(image, device, rng), parsing=parsing,
        keypoints=keypoints_of(canvas, figure, _SUBJECT, shrink), box_full=box_full,
        box_visible=box_visible, identity=identity, camera=camera_index, attributes=attributes,
        pa100k=pa100k_of(look, figure.pose),
        facts={**look.facts(), 'viewpoint': figure.pose.viewpoint, 'posture': figure.pose.kind,
               'holds': figure.pose.holds})


def put_figure(canvas: Canvas, figure: Figure, person: int,
               rng: np.random.Generator) -> None:
    """Paint person number ``person`` and his shadow."""
    feet = .5 * (figure.xy['left_toe'] + figure.xy['right_heel'])
    spread = float(np.ptp([figure.xy[name][0] for name in ('left_toe', 'right_toe')]))
    canvas.shadow(feet, .5 * spread + .12 * figure.scale, .035 * figure.scale)
    canvas.begin(person, figure.scale, rng)
    paint_figure(figure, canvas, rng)


def _frame(figure: Figure, width: int, height: int, rng: np.random.Generator) -> int:
    """Place the subject as a detector's box would: tight, off-centre, at times cut off."""
    x1, y1, x2, y2 = figure.reach()
    scale = min(height * rng.uniform(.84, .99) / (y2 - y1),
                width * rng.uniform(.86, 1.) / (x2 - x1))
    tight = scale * (x2 - x1) / rng.uniform(.74, .98)
    width = 2 * round(.5 * min(max(tight, width / _STRETCH), width))
    free_x, free_y = width - scale * (x2 - x1), height - scale * (y2 - y1)
    left, top = rng.uniform(.15, .85) * free_x, rng.uniform(.1, .9) * free_y
    chance = rng.random()
    if chance < .1:  # the legs are cut off
        zoom = rng.uniform(1.25, 1.7)
        left += (1 - zoom) * .5 * scale * (x2 - x1)
        scale *= zoom
        top = rng.uniform(0, .04) * height
    elif chance < .15:  # one side is cut off
        cut = rng.uniform(.15, .45) * scale * (x2 - x1)
        left = -cut if rng.random() < .5 else width - scale * (x2 - x1) + cut
    figure.settle(scale, (left - scale * x1, top - scale * y1))
    return width


def _passer_by(canvas: Canvas, subject: Figure, seed: int, before: bool,
               rng: np.random.Generator) -> None:
    """Somebody else, behind or before the subject."""
    look = draw_stranger(seed, int(rng.integers(2**31)))
    figure = Figure(look, draw_pose(rng, look), subject.view)
    size = look.height / subject.look.height
    if before:
        scale = subject.scale * size * rng.uniform(1., 1.2)
        away = rng.choice((-1, 1)) * rng.uniform(.2, .36)
        ground = subject.origin[1] + .03 * scale
    else:
        far = rng.uniform(.35, .92)
        scale = subject.scale * size * far
        away = rng.uniform(-.42, .42) if far < .6 else rng.choice((-1, 1)) * rng.uniform(.16, .42)
        ground = subject.origin[1] - (1 - far) * rng.uniform(.1, .4) * subject.scale
    figure.settle(scale, (subject.origin[0] + away * subject.scale, ground))
    put_figure(canvas, figure, _OTHER, rng)

"""Whole pictures with several people at different distances."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .annotate import boxes_of, keypoints_of, pa100k_of
from .background import cut_background, put_obstacle
from .camera import camera, draw_view, expose
from .figure import Figure
from .identity import draw_look
from .paint import Canvas, parsing_of
from .people import put_figure
from .pose import draw_pose

_SCENE = 21


@dataclass
class ScenePerson:
    """One person of a scene; fields as in :class:`PersonRecord`, in the scene's pixels."""

    identity: int
    keypoints: np.ndarray
    box_full: tuple[float, float, float, float]
    box_visible: tuple[float, float, float, float]
    attributes: dict[str, str]
    pa100k: np.ndarray
    facts: dict[str, str | None]


@dataclass
class SceneRecord:
    """A picture with several people.

    Args:
        image: (H, W, 3) uint8 RGB.
        people: From the farthest to the nearest; those quite hidden are among them, with a
            visible box of zeros.
        parsing: (H, W) uint8, LIP's 20 classes of whoever shows.
        instances: (H, W) uint8, 1 + the index into ``people`` of whoever shows, with what he
            carries; 0 elsewhere.
        camera: Number of the camera.
    """

    image: np.ndarray
    people: list[ScenePerson]
    parsing: np.ndarray
    instances: np.ndarray
    camera: int


def draw_scene(seed: int, size: tuple[int, int] = (480, 800), num_people: int = 6, index: int = 0,
               num_identities: int = 100, num_cameras: int = 6,
               person_scale: float = 1.) -> SceneRecord:
    """Draw scene ``index`` of a seed.

    Args:
        seed: As of :class:`SyntheticPeople`; its identities appear in the scene.
        size: Height and width in pixels.
        num_people: How many people, 1 to 200.
        index: Number of the scene.
        num_identities: The people are drawn from identities 0 .. num_identities - 1.
        num_cameras: The camera is one of these.
        person_scale: Factor on the size of all people; at 1 they are about 0.1 to 0.8 of the
            picture's height.

    Raises:
        ValueError: When ``num_people`` is not in 1..200 or above ``num_identities``.
    """
    if not 1 <= num_people <= min(200, num_identities):
        raise ValueError(f'num_people must be in 1..{min(200, num_identities)} '
                         f'(num_identities is {num_identities}), got {num_people}')
    rng = np.random.default_rng([seed, _SCENE, index])
    number = int(rng.integers(num_cameras))
    device = camera(number)
    height, width = size[0] * 2, size[1] * 2
    canvas = Canvas(cut_background(seed, number, (height, width), rng), float(rng.uniform(-1, 1)))
    view = draw_view(device, rng)
    identities = rng.choice(num_identities, num_people, replace=False).tolist()
    # Metre to pixels grows with the height of the feet in the picture: a flat ground.
    grounds = np.sort(rng.beta(1.1, 1.3, num_people)) * .62 + .5
    figures, extents = [], []
    for person, (identity, ground) in enumerate(zip(identities, grounds.tolist(), strict=True), 1):
        look = draw_look(seed, identity)
        figure = Figure(look, draw_pose(rng, look), view)
        metre = person_scale * height * (.04 + .42 * (ground - .42) / .7)
        figure.settle(metre * look.height, (rng.uniform(-.01, 1.01) * width, ground * height))
        put_figure(canvas, figure, person, rng)
        figures.append(figure)
        extents.append(canvas.extent)
    if rng.random() < .4:
        put_obstacle(canvas, rng)

    image = expose(cv2.resize(canvas.image, size[::-1], interpolation=cv2.INTER_AREA), device, rng)
    owner = np.ascontiguousarray(canvas.owner[::2, ::2])
    people = []
    scene_parsing = np.zeros(size, np.uint8)
    drawn = zip(identities, figures, extents, strict=True)
    for person, (identity, figure, extent) in enumerate(drawn, 1):
        parsing = parsing_of(owner, person)
        np.maximum(scene_parsing, parsing, out=scene_parsing)
        box_full, box_visible = boxes_of(extent, parsing)
        viewpoint = figure.pose.viewpoint
        people.append(ScenePerson(
            identity, keypoints_of(canvas, figure, person), box_full, box_visible,
            {**figure.look.attributes(), 'viewpoint': viewpoint},
            pa100k_of(figure.look, figure.pose),
            {**figure.look.facts(), 'viewpoint': viewpoint, 'posture': figure.pose.kind,
             'holds': figure.pose.holds}))
    return SceneRecord(image, people, scene_parsing, (owner >> 8).astype(np.uint8), number)

"""Ground truth read off a finished canvas and the figures on it."""

from __future__ import annotations

import math

import numpy as np

from .figure import Figure
from .identity import Look
from .paint import Canvas
from .pose import SIDES, Pose
from .words import PA100K_ATTRIBUTES

Box = tuple[float, float, float, float]


def boxes_of(extent: list[float], parsing: np.ndarray,
             shrink: tuple[float, float] = (.5, .5)) -> tuple[Box, Box]:
    """Full and visible box of one person, in picture pixels.

    Args:
        extent: x1, y1, x2, y2 of all that was painted of him, in canvas pixels.
        parsing: (H, W) classes of the pixels that show.
        shrink: Picture pixels per canvas pixel in x and y; picture column j shows canvas column
            floor(j / shrink).
    """
    x1, y1, x2, y2 = extent
    full = (math.ceil(math.floor(x1) * shrink[0]), math.ceil(math.floor(y1) * shrink[1]),
            math.ceil((math.ceil(x2) + 1) * shrink[0]), math.ceil((math.ceil(y2) + 1) * shrink[1]))
    full = tuple(map(float, full))
    rows, columns = np.flatnonzero(parsing.any(1)), np.flatnonzero(parsing.any(0))
    if not len(rows):
        return full, (0., 0., 0., 0.)
    return full, (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def keypoints_of(canvas: Canvas, figure: Figure, person: int,
                 shrink: tuple[float, float] = (.5, .5)) -> np.ndarray:
    """COCO keypoints with visibility, (17, 3) float32, in picture pixels."""
    height, width = canvas.owner.shape
    rows = []

    def add(point: np.ndarray, facing: bool, segments: tuple[str, ...]) -> None:
        x, y = float(point[0]), float(point[1])
        inside = 0 <= x < width and 0 <= y < height
        seen = inside and facing and canvas.segment_at(person, x, y) in segments
        rows.append((x * shrink[0], y * shrink[1], 2 if seen else int(inside)))

    for name, (point, towards) in figure.head.landmarks().items():
        facing = towards > (-.12 if 'ear' in name else .1)
        add(point, facing, ('head',))
    hidden = .5 * (figure.depth['left_shoulder'] + figure.depth['right_shoulder']) - .07
    for name, _ in SIDES:
        add(figure.xy[f'{name}_shoulder'], figure.depth[f'{name}_shoulder'] > hidden,
            ('torso', 'neck', 'hair', 'bag', f'{name} arm'))
    for joint in ('elbow', 'wrist'):
        for name, _ in SIDES:
            add(figure.xy[f'{name}_{joint}'], True, (f'{name} arm',))
    middle = figure.depth['pelvis'] - .04
    for name, _ in SIDES:
        add(figure.xy[f'{name}_hip'], figure.depth[f'{name}_hip'] > middle,
            ('torso', 'hips', f'{name} leg'))
    for joint in ('knee', 'ankle'):
        for name, _ in SIDES:
            add(figure.xy[f'{name}_{joint}'], True, ('torso', 'hips', f'{name} leg'))
    return np.array(rows, np.float32)


def pa100k_of(look: Look, pose: Pose) -> np.ndarray:
    """The 26 attributes of PA-100K, (26,) int8."""
    upper, lower = look.outermost, look.lower
    dress = look.upper.kind == 'dress'
    garment = look.upper if dress else lower
    bag = look.bag.kind if look.bag else None
    true = {
        'Female': look.gender == 'female',
        'AgeOver60': look.age == 'elderly', 'Age18-60': look.age == 'adult',
        'AgeLess18': look.age == 'child',
        'Front': pose.viewpoint == 'front', 'Side': pose.viewpoint == 'side',
        'Back': pose.viewpoint == 'back',
        'Hat': look.hat is not None, 'Glasses': look.glasses is not None,
        'HandBag': bag == 'handbag', 'ShoulderBag': bag == 'shoulder bag',
        'Backpack': bag == 'backpack', 'HoldObjectsInFront': pose.holds is not None,
        'ShortSleeve': look.sleeve == 'short', 'LongSleeve': look.sleeve == 'long',
        'UpperStride': upper.pattern == 'stripes', 'UpperLogo': upper.pattern == 'logo',
        'UpperPlaid': upper.pattern == 'plaid', 'UpperSplice': upper.pattern == 'splice',
        'LowerStripe': not dress and lower.pattern == 'side stripe',
        'LowerPattern': garment.pattern in ('plaid', 'dots'),
        'LongCoat': upper.kind == 'coat',
        'Trousers': not dress and lower.kind == 'trousers',
        'Shorts': not dress and lower.kind == 'shorts',
        'Skirt&Dress': dress or lower.kind == 'skirt',
        'boots': look.shoes.kind == 'boots',
    }
    return np.array([true[name] for name in PA100K_ATTRIBUTES], np.int8)

"""How a person stands before the camera: joints in space and their projection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .identity import Look

SIDES = (('left', 1), ('right', -1))


@dataclass(frozen=True)
class Limb:
    """Angles of an arm or a leg in radians: forward, sideways, and of the elbow or knee."""

    flex: float
    spread: float
    bend: float
    inward: float = 0.


@dataclass(frozen=True)
class Pose:
    """A posture and the direction that the person faces.

    ``yaw`` is 0 when the person faces the camera, pi/2 when he faces the image's right, pi from
    behind. ``viewpoint`` is its name: front, back or side.
    """

    kind: str
    viewpoint: str
    yaw: float
    head_turn: float
    lean: float
    left_arm: Limb
    right_arm: Limb
    left_leg: Limb
    right_leg: Limb
    holds: str | None


@dataclass(frozen=True)
class View:
    """The camera's geometry: downward pitch in radians and how much nearer the head looms."""

    pitch: float
    loom: float


def _draw_yaw(rng: np.random.Generator) -> tuple[str, float]:
    viewpoint = ('front', 'back', 'side')[rng.choice(3, p=(.4, .3, .3))]
    if viewpoint == 'side':
        yaw = rng.choice((-1, 1)) * np.radians(np.clip(rng.normal(88, 13), 58, 122))
    else:
        yaw = np.radians(np.clip(rng.normal(0, 17), -38, 38)) + np.pi * (viewpoint == 'back')
    return viewpoint, float(yaw)


def draw_pose(rng: np.random.Generator, look: Look) -> Pose:
    """Draw a posture and a viewpoint for one image."""
    viewpoint, yaw = _draw_yaw(rng)
    kind = ('walking', 'standing', 'sitting')[rng.choice(3, p=(.55, .36, .09))]
    old = look.age == 'elderly'
    lean = look.stoop + rng.normal(.02, .03)
    if kind == 'walking':
        stride = rng.uniform(.12, .34 if old else .5) * rng.choice((-1, 1))
        legs = [Limb(side * stride + .05, rng.uniform(.0, .05),
                     rng.uniform(.05, .25) if side * stride > 0 else rng.uniform(.15, .75))
                for _, side in SIDES]
        swing = -stride * rng.uniform(.5, 1.2)
    elif kind == 'standing':
        swing = 0.
        legs = [Limb(rng.normal(0, .05), rng.uniform(.01, .13), rng.uniform(0, .12))
                for _ in SIDES]
    else:
        swing, lean = 0., rng.uniform(-.02, .2)
        knees = rng.uniform(1.3, 1.65)
        legs = [Limb(rng.uniform(1.35, 1.5), rng.uniform(.02, .25), knees + rng.normal(0, .1))
                for _ in SIDES]
    gesture = ('swing', 'hold', 'phone', 'wave', 'hips', 'fold')[
        rng.choice(6, p=(.6, .16, .08, .03, .08, .05))]
    arms, busy, holds = [], rng.integers(2), None
    for index, (_, side) in enumerate(SIDES):
        flex = side * swing + rng.normal(0, .06)
        arm = Limb(flex, rng.uniform(.06, .2), rng.uniform(.08, .3) + max(flex, 0) * .6)
        if kind == 'sitting':
            arm = Limb(rng.uniform(.3, .6), .12, rng.uniform(.6, 1.), .3)
        if gesture == 'hold':
            arm = Limb(rng.uniform(.1, .45), .12, rng.uniform(1.1, 1.5), rng.uniform(.35, .5))
        elif gesture == 'fold':
            arm = Limb(.3, .12, 1.45, 1.0)
        elif gesture == 'hips' and kind == 'standing':
            arm = Limb(-.25, .62, .75, 1.55)
        elif index == busy and gesture == 'phone':
            arm = Limb(.75, .3, 2.2, .35)
        elif index == busy and gesture == 'wave':
            arm = Limb(.4, 1.5, .3, -1.2)
        arms.append(arm)
    if gesture == 'hold':
        holds = ('box', 'book', 'bag')[rng.integers(3)]
    return Pose(kind, viewpoint, yaw, float(rng.normal(0, .18)), float(lean), *arms, *legs, holds)


def _direction(side: int, flex: float, spread: float) -> np.ndarray:
    return np.array([side * np.sin(spread), -np.cos(spread) * np.cos(flex),
                     np.cos(spread) * np.sin(flex)])


def build_skeleton(look: Look, pose: Pose) -> dict[str, np.ndarray]:
    """Place the joints.

    Returns:
        Joint name -> (3,) position in units of the stature: to the person's left, up from the
        ground, forward. The pelvis is above the origin.
    """
    cos, sin = np.cos(pose.lean), np.sin(pose.lean)

    def spine(x: float, up: float, forward: float = 0.) -> np.ndarray:
        return np.array([x, up * cos - forward * sin, up * sin + forward * cos])

    torso = 1 - look.head - .045 - look.leg
    points = {
        'pelvis': spine(0, 0), 'waist': spine(0, torso * .36), 'chest': spine(0, torso * .72),
        'collar': spine(0, torso * 1.), 'neck': spine(0, torso + .028, .004 + .04 * pose.lean),
    }
    nod = .5 * pose.lean  # the gaze stays nearer to level than the back
    centre = points['neck'] + np.array(
        [0, np.cos(nod) * look.head * .52, .012 + np.sin(nod) * look.head * .5 + .06 * pose.lean])
    points['head'] = centre
    for name, side in SIDES:
        arm = pose.left_arm if side > 0 else pose.right_arm
        leg = pose.left_leg if side > 0 else pose.right_leg
        reach = .93 if look.age == 'child' else 1.
        shoulder = spine(side * look.shoulder, torso * .9)
        elbow = shoulder + .172 * reach * _direction(side, arm.flex, arm.spread)
        forearm = _direction(side, arm.flex + arm.bend, arm.spread - arm.inward)
        wrist = elbow + .142 * reach * forearm
        hip = np.array([side * look.hip, 0., 0.])
        thigh, shin = .255 / .515 * look.leg, .225 / .515 * look.leg
        knee = hip + thigh * _direction(side, leg.flex, leg.spread)
        angle = leg.flex - leg.bend
        ankle = knee + shin * _direction(side, angle, leg.spread)
        tip = min(angle * .7, .15)
        toe = ankle + .085 * np.array([side * .25, np.sin(tip) - .12, np.cos(tip)])
        heel = ankle + np.array([0, -.028, -.022])
        points |= {f'{name}_shoulder': shoulder, f'{name}_elbow': elbow, f'{name}_wrist': wrist,
                   f'{name}_hand': wrist + .048 * forearm, f'{name}_hip': hip,
                   f'{name}_knee': knee, f'{name}_ankle': ankle, f'{name}_toe': toe,
                   f'{name}_heel': heel}
    ground = min(min(points[f'{name}_{end}'][1] for end in ('ankle', 'toe', 'heel'))
                 for name, _ in SIDES)
    lift = np.array([0, .012 - ground, 0])
    return {name: point + lift for name, point in points.items()}


def project(points: np.ndarray, yaw: float,
            view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Project body points orthographically, with a little looming towards a high camera.

    Args:
        points: (n, 3) left, up, forward.
        yaw: Direction faced, radians.
        view: The camera's pitch and looming.

    Returns:
        (n, 2) image positions, x to the right and y down, (n,) depth towards the camera, and
        (n,) local scale; all in units of the stature.
    """
    left, up, forward = points.T
    cos, sin = np.cos(yaw), np.sin(yaw)
    x, depth = left * cos + forward * sin, forward * cos - left * sin
    scale = 1 + view.loom * (up - .5)
    y = depth * np.sin(view.pitch) - (up + view.loom * .5 * (up * up - up)) * np.cos(view.pitch)
    return np.stack([x * scale, y], 1), depth, scale

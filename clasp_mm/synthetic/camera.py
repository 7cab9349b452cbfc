"""What a camera does to a picture: where it hangs, tint, exposure, blur, noise, compression."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from .pose import View

_CAMERA = 41


@dataclass(frozen=True)
class Camera:
    """One camera's constant properties.

    Args:
        gain: Factors on red, green and blue.
        gamma: Exponent on the exposure; above 1 is darker.
        contrast: Slope around the middle grey.
        blur: Standard deviation in pixels of a 256 x 128 crop.
        detail: Resolution kept, 1 is all of it.
        noise: Standard deviation of the sensor noise in grey levels.
        quality: JPEG quality of the recording; 100 keeps it as it is.
        pitch: Downward tilt in radians.
        loom: How much nearer the head is than the feet.
    """

    gain: tuple[float, float, float]
    gamma: float
    contrast: float
    blur: float
    detail: float
    noise: float
    quality: int
    pitch: float
    loom: float


_SIX = (
    Camera((1.00, 1.00, 1.00), 1.00, 1.00, .35, 1.0, 2., 100, .10, .10),
    Camera((1.09, 1.01, .90), 1.08, .97, .50, .80, 3., 80, .24, .22),
    Camera((.92, .99, 1.10), .91, .92, .45, .9, 2., 100, .05, .04),
    Camera((.97, 1.04, .96), 1.20, 1.04, .65, .7, 4., 70, .32, .28),
    Camera((1.04, .97, 1.03), .86, .88, .45, .85, 2., 80, .16, .14),
    Camera((.96, .97, 1.02), 1.12, 1.10, .75, .65, 3., 75, .02, .0),
)


@lru_cache(maxsize=64)
def camera(index: int) -> Camera:
    """Camera number ``index``: six fixed ones, then drawn ones; the same for all seeds."""
    if index < len(_SIX):
        return _SIX[index]
    rng = np.random.default_rng([_CAMERA, index])
    gain = rng.normal(1, .05, 3)
    return Camera(tuple((gain / gain.mean()).tolist()), float(rng.uniform(.86, 1.2)),
                  float(rng.uniform(.88, 1.1)), float(rng.uniform(.35, .75)),
                  float(rng.uniform(.65, 1.)), float(rng.uniform(2, 4)),
                  int(rng.integers(60, 91)), float(rng.uniform(.02, .32)),
                  float(rng.uniform(0, .28)))


def draw_view(device: Camera, rng: np.random.Generator) -> View:
    """Geometry of one shot."""
    return View(float(np.clip(device.pitch + rng.normal(0, .04), 0, .4)),
                float(np.clip(device.loom + rng.normal(0, .03), 0, .35)))


@lru_cache(maxsize=1)
def _noise() -> np.ndarray:
    """Unit sensor noise, (700, 1100, 3) int8 of deviation 24; the same for all seeds."""
    rng = np.random.default_rng(79)
    fine = rng.normal(0, 1, (700, 1100, 3)).astype(np.float32)
    grain = cv2.GaussianBlur(fine, (0, 0), .7)
    return np.clip(24 * grain / grain.std(), -100, 100).astype(np.int8)


def expose(image: np.ndarray, device: Camera, rng: np.random.Generator) -> np.ndarray:
    """Record a clean picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        device: The camera.
        rng: Source of what differs from shot to shot.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    level = np.linspace(0, 1, 256)
    gamma = device.gamma * np.exp(rng.normal(0, .12))
    gain = np.array(device.gain) * np.exp(rng.normal(0, .03, 3)) * np.exp(rng.normal(0, .07))
    curve = np.clip((level**gamma - .45) * device.contrast + .45, 0, 1)
    table = np.clip(curve[:, None] * gain * 255, 0, 255).astype(np.uint8)[None]
    image = cv2.LUT(image, table)
    detail = device.detail * rng.uniform(.85, 1.1)
    if detail < .97:
        small = cv2.resize(image, (max(int(width * detail), 2), max(int(height * detail), 2)),
                           interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    blur = device.blur * rng.uniform(.6, 1.3) * height / 256
    image = cv2.GaussianBlur(image, (0, 0), max(min(blur, 4.), .2))
    noise = _noise()
    top = rng.integers(max(noise.shape[0] - height, 0) + 1)
    left = rng.integers(max(noise.shape[1] - width, 0) + 1)
    patch = noise[top:top + height, left:left + width]
    if patch.shape != image.shape:
        patch = np.tile(patch, (-(-height // patch.shape[0]), -(-width // patch.shape[1]), 1))
        patch = np.ascontiguousarray(patch[:height, :width])
    strength = device.noise * rng.uniform(.7, 1.3) / 24
    image = cv2.addWeighted(image, 1., patch, strength, 0., dtype=cv2.CV_8U)
    if device.quality == 100:
        return image
    quality = int(np.clip(device.quality + rng.integers(-8, 9), 40, 95))
    _, code = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(code, cv2.IMREAD_COLOR)

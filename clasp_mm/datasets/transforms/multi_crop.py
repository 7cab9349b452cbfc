"""Multi-crop views of a person image, and the part map that moves with them."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from clasp_mm.registry import TRANSFORMS

from . import augment

_JITTER = (augment.adjust_brightness, augment.adjust_contrast, augment.adjust_saturation,
           augment.adjust_hue)


class View(NamedTuple):
    """What was drawn for one view.

    Attributes:
        size: (height, width) in pixels.
        box: (top, left, height, width) in the image.
        flip: Mirror left and right.
        jitter: (operation, amount) pairs in their order, operations numbered as brightness,
            contrast, saturation, hue.
        gray: Take the colours away.
        sigma: Standard deviation of the blur in pixels, 0 for none.
        solarize: Invert the bright values.
    """

    size: tuple[int, int]
    box: tuple[int, int, int, int]
    flip: bool
    jitter: tuple[tuple[int, float], ...]
    gray: bool
    sigma: float
    solarize: bool


@TRANSFORMS.register_module()
class MultiCrop(BaseTransform):
    """Global and local crops with DINO's augmentations; the defaults are SOLIDER's for people.

    Reads ``img`` ((H, W, 3) uint8 BGR) and, if there, ``part_map`` ((h, w) uint8, over the whole
    image). Sets ``views``, a list of (H_i, W_i, 3) uint8 BGR, global ones first, and with a part
    map ``view_part_maps``, ``(num_global, *map_size)`` uint8: in each global view, the labels at
    the centres of a grid of ``map_size`` cells. What is drawn comes from NumPy's global state.

    Args:
        num_global: Number of global views.
        num_local: Number of local views.
        global_size: (height, width) of global views, pixels.
        local_size: (height, width) of local views, pixels.
        global_scale: Range of a global view's share of the image's area.
        local_scale: Range of a local view's share.
        aspect_ratio: Range of a box's width / height, drawn uniformly in its logarithm.
        flip_prob: Probability of a mirrored view.
        jitter: Largest change of brightness, contrast, saturation (all relative), hue (turns).
        jitter_prob: Probability of colour jitter.
        gray_prob: Probability of a view without colour.
        global_blur_prob: Probability of blur, of all global views or of each.
        local_blur_prob: Probability of blur of a local view.
        blur_sigma: Range of the blur's standard deviation, pixels.
        solarize_prob: Probability of solarization, of all global views or of each.
        map_size: (rows, columns) of the part maps.

    Raises:
        ValueError: A size, range or probability that cannot be.

    Example:
        >>> sample = MultiCrop(num_local=1)(dict(img=np.zeros((64, 32, 3), np.uint8)))
        >>> [view.shape for view in sample['views']]
        [(256, 128, 3), (256, 128, 3), (128, 64, 3)]
    """

    def __init__(self, num_global: int = 2, num_local: int = 8,
                 global_size: tuple[int, int] = (256, 128),
                 local_size: tuple[int, int] = (128, 64),
                 global_scale: tuple[float, float] = (0.8, 1.0),
                 local_scale: tuple[float, float] = (0.05, 0.8),
                 aspect_ratio: tuple[float, float] = (0.4, 0.6), flip_prob: float = 0.5,
                 jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1),
                 jitter_prob: float = 0.8, gray_prob: float = 0.2,
                 global_blur_prob: float | Sequence[float] = (1.0, 0.1),
                 local_blur_prob: float = 0.5, blur_sigma: tuple[float, float] = (0.1, 2.0),
                 solarize_prob: float | Sequence[float] = (0.0, 0.2),
                 map_size: tuple[int, int] = (32, 16)) -> None:
        if num_global < 1 or num_local < 0:
            raise ValueError('there must be a global view and no negative number of local ones, '
                             f'got num_global={num_global}, num_local={num_local}')
        self.num_global = num_global
        self.num_local = num_local
        self.global_size = _size('global_size', global_size)
        self.local_size = _size('local_size', local_size)
        self.map_size = _size('map_size', map_size)
        self.global_scale = _range('global_scale', global_scale, highest=1)
        self.local_scale = _range('local_scale', local_scale, highest=1)
        self.aspect_ratio = _range('aspect_ratio', aspect_ratio)
        self.blur_sigma = _range('blur_sigma', blur_sigma)
        self.flip_prob = _probability('flip_prob', flip_prob)
        self.jitter_prob = _probability('jitter_prob', jitter_prob)
        self.gray_prob = _probability('gray_prob', gray_prob)
        self.local_blur_prob = _probability('local_blur_prob', local_blur_prob)
        self.global_blur_prob = self._for_each_global('global_blur_prob', global_blur_prob)
        self.solarize_prob = self._for_each_global('solarize_prob', solarize_prob)
        if len(jitter) != 4 or min(jitter) < 0 or jitter[3] > 0.5:
            raise ValueError('jitter gives brightness, contrast, saturation (>= 0) and hue '
                             f'(0 to 0.5), got {jitter}')
        self.jitter = tuple(jitter)

    def _for_each_global(self, name: str, value: float | Sequence[float]) -> tuple[float, ...]:
        values = (value,) * self.num_global if np.isscalar(value) else tuple(value)
        if len(values) != self.num_global:
            raise ValueError(f'{name} gives one value per global view or one for all, got {value} '
                             f'for {self.num_global} global views')
        return tuple(_probability(name, item) for item in values)

    @cache_randomness
    def draw(self, height: int, width: int) -> list[View]:
        """Draw all views of an image of that size, in pixels."""
        views = [self._draw_view(height, width, self.global_size, self.global_scale, blur, solarize)
                 for blur, solarize in zip(self.global_blur_prob, self.solarize_prob, strict=True)]
        return views + [self._draw_view(height, width, self.local_size, self.local_scale,
                                        self.local_blur_prob, 0) for _ in range(self.num_local)]

    def _draw_view(self, height: int, width: int, size: tuple[int, int],
                   scale: tuple[float, float], blur_prob: float, solarize_prob: float) -> View:
        return View(
            size=size,
            box=draw_box(height, width, scale, self.aspect_ratio),
            flip=_happens(self.flip_prob),
            jitter=self._draw_jitter() if _happens(self.jitter_prob) else (),
            gray=_happens(self.gray_prob),
            sigma=_uniform(*self.blur_sigma) if _happens(blur_prob) else 0.0,
            solarize=_happens(solarize_prob))

    def _draw_jitter(self) -> tuple[tuple[int, float], ...]:
        brightness, contrast, saturation, hue = self.jitter
        amounts = (*(_uniform(max(0, 1 - change), 1 + change)
                     for change in (brightness, contrast, saturation)), _uniform(-hue, hue))
        return tuple((kind, amounts[kind]) for kind in np.random.permutation(4).tolist()
                     if self.jitter[kind] > 0)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        image = results['img']
        views = self.draw(*image.shape[:2])
        results['views'] = [render(image, view) for view in views]
        if 'part_map' in results:
            results['view_part_maps'] = np.stack([
                move_map(results['part_map'], image.shape[:2], view, self.map_size)
                for view in views[:self.num_global]])
        return results

    def __repr__(self) -> str:
        fields = ', '.join(f'{name}={value}' for name, value in vars(self).items()
                           if not name.startswith('_'))
        return f'{type(self).__name__}({fields})'


def draw_box(height: int, width: int, scale: tuple[float, float],
             aspect_ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    """Draw the box of a random resized crop, as torchvision's ``RandomResizedCrop`` does.

    Args:
        height: Rows of the image.
        width: Columns.
        scale: Range of the box's share of the image's area.
        aspect_ratio: Range of the box's width / height.

    Returns:
        (top, left, height, width). After ten boxes that do not fit, the central box of the nearest
        aspect ratio, of at least one pixel.
    """
    low, high = math.log(aspect_ratio[0]), math.log(aspect_ratio[1])
    for _ in range(10):
        area = height * width * _uniform(*scale)
        ratio = math.exp(_uniform(low, high))
        box_width, box_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            return (np.random.randint(height - box_height + 1),
                    np.random.randint(width - box_width + 1), box_height, box_width)
    ratio = min(max(width / height, aspect_ratio[0]), aspect_ratio[1])
    box_width = min(width, max(1, round(height * ratio)))
    box_height = min(height, max(1, round(width / ratio)))
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


def render(image: np.ndarray, view: View) -> np.ndarray:
    """Make a view: (H, W, 3) uint8 BGR to (*view.size, 3)."""
    pixels = augment.crop_resize(image, view.box, view.size)
    if view.flip:
        pixels = cv2.flip(pixels, 1)
    for kind, amount in view.jitter:
        pixels = _JITTER[kind](pixels, amount)
    if view.gray:
        pixels = augment.to_gray(pixels)
    if view.sigma:
        pixels = augment.gaussian_blur(pixels, view.sigma)
    return augment.solarize(pixels) if view.solarize else pixels


def move_map(part_map: np.ndarray, image_size: tuple[int, int], view: View,
             map_size: tuple[int, int]) -> np.ndarray:
    """Move a label map through a view's crop and flip.

    Args:
        part_map: (h, w) labels over the whole image.
        image_size: (H, W) of the image, pixels.
        view: The view; its box is in pixels of the image.
        map_size: (rows, columns) of the result.

    Returns:
        (*map_size) labels: in each cell that of the label under the cell's centre. The centres are
        computed in integers, so no rounding moves a label.
    """
    top, left, height, width = view.box
    rows = _centres(top, height, map_size[0], image_size[0], part_map.shape[0])
    columns = _centres(left, width, map_size[1], image_size[1], part_map.shape[1])
    return part_map[np.ix_(rows, columns[::-1] if view.flip else columns)]


def _centres(start: int, extent: int, cells: int, pixels: int, labels: int) -> np.ndarray:
    """floor(labels / pixels * (start + (i + 1/2) / cells * extent)) for each cell i."""
    twice = 2 * cells * start + (2 * np.arange(cells, dtype=np.int64) + 1) * extent
    return twice * labels // (2 * cells * pixels)


def _happens(probability: float) -> bool:
    return np.random.random() < probability


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * np.random.random()


def _size(name: str, value: Sequence[int]) -> tuple[int, int]:
    if len(value) != 2 or min(value) < 1:
        raise ValueError(f'{name} is (height, width) of at least 1 each, got {value}')
    return int(value[0]), int(value[1])


def _range(name: str, value: Sequence[float], highest: float = math.inf) -> tuple[float, float]:
    if len(value) != 2 or not 0 < value[0] <= value[1] <= highest:
        raise ValueError(f'{name} is a rising (low, high) above 0'
                         f'{"" if math.isinf(highest) else f" and up to {highest}"}, got {value}')
    return tuple(value)


def _probability(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f'{name} is a probability, got {value}')
    return float(value)

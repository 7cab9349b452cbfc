"""Log-average miss rate (MR^-2) of pedestrian detectors on CityPersons."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

FPPI_POINTS = np.array([.0100, .0178, .0316, .0562, .1000, .1778, .3162, .5623, 1.])
_HEIGHT_TOLERANCE = 1.25
_IOU = .5
_MAX_DETECTIONS = 1000


class MissRateSetup(NamedTuple):
    """Which pedestrians count: the others are ignored.

    Args:
        min_height: Pixels; a pedestrian as high as this counts.
        max_height: Pixels; a pedestrian as high as this counts.
        min_visibility: Visible share of the area; a pedestrian with this share counts.
        max_visibility: A pedestrian with this share counts.

    Example:
        >>> MissRateSetup(50, math.inf, .65, math.inf) == MISS_RATE_SETUPS['Reasonable']
        True
    """

    min_height: float
    max_height: float
    min_visibility: float
    max_visibility: float


MISS_RATE_SETUPS = {
    'Reasonable': MissRateSetup(50, math.inf, .65, math.inf),
    'Small': MissRateSetup(50, 75, .65, math.inf),
    'Heavy': MissRateSetup(50, math.inf, .2, .65),
    'All': MissRateSetup(20, math.inf, .2, math.inf),
}


def log_average_miss_rate(detections: Iterable[np.ndarray], scores: Iterable[np.ndarray],
                          boxes: Iterable[np.ndarray], visibility: Iterable[np.ndarray],
                          ignore: Iterable[np.ndarray],
                          setups: Mapping[str, MissRateSetup] = MISS_RATE_SETUPS,
                          ) -> dict[str, Any]:
    """Score detections by the protocol of CityPersons' own evaluation script.

    In each setup pedestrians out of its range become regions to ignore, and detections lower than
    ``min_height / 1.25``, or not lower than ``max_height * 1.25``, are dropped. In each image the
    detections choose in the order of their scores (the best 1000, equal scores in the given order).
    A detection takes the free pedestrian of highest IoU, if that is 0.5 or more (of equal ones the
    last); else, if half of *its own* area or more lies in one region to ignore, it does not count,
    however many others lie there; else it is false. The miss rate, 1 - recall, is read at nine
    points from 0.01 to 1 false positives per image (FPPI), equally spaced on a log scale and
    rounded to four digits as in that script, where FPPI has last been at or below the point; the
    score is the geometric mean of the nine.

    As in that script:

    - A point that not even the first detection stays below (the best ones are false and the
      images few) takes the recall of *all* detections. Be wary of this with less than 100 images.
    - A miss rate of 0 at any point makes the mean 0.
    - Without detections all miss rates are 1.

    Where that script gives -100 % since no pedestrian counts in a setup, the results are NaN.

    Args:
        detections: For each image (D, 4) x1, y1, x2, y2 in pixels of the original image.
        scores: For each image (D,).
        boxes: For each image (N, 4) annotations, whole bodies, x1, y1, x2, y2.
        visibility: For each image (N,) visible area by whole area.
        ignore: For each image (N,) bool, annotations that are no pedestrians.
        setups: Name to setup; the default has Reasonable, Small, Heavy and All.

    Returns:
        In percent: for each name its log-average miss rate; in ``miss_rates`` the nine behind it
        (name -> (9,) float64), and in ``num_pedestrians`` how many count (name -> int).

    Raises:
        ValueError: No image; the iterables differ in length, arrays in shape; a number that is
            not finite; an annotation with a corner beyond the other. It names the image.

    Example:
        >>> person, other = [0, 0, 40, 100], [200, 0, 240, 100]
        >>> found = log_average_miss_rate([np.array([person])], [np.array([.9])],
        ...                               [np.array([person, other])], [np.ones(2)],
        ...                               [np.zeros(2, bool)])
        >>> round(found['Reasonable'], 3), found['num_pedestrians']['Reasonable']
        (50.0, 2)
    """
    kept: dict[str, list[np.ndarray]] = {name: [] for name in setups}
    pedestrians = dict.fromkeys(setups, 0)
    num_images = 0
    for image in zip(detections, scores, boxes, visibility, ignore, strict=True):
        found, scored, real, visible, ignored = _check(num_images, *image)
        num_images += 1
        order = np.argsort(-scored, kind='stable')[:_MAX_DETECTIONS]
        found, scored = found[order], scored[order]
        iou, iof = _overlaps(found, real)
        found_height, height = found[:, 3] - found[:, 1], real[:, 3] - real[:, 1]
        for name, setup in setups.items():
            counts = (~ignored & (height >= setup.min_height) & (height <= setup.max_height)
                      & (visible >= setup.min_visibility) & (visible <= setup.max_visibility))
            used = ((found_height >= setup.min_height / _HEIGHT_TOLERANCE)
                    & (found_height < setup.max_height * _HEIGHT_TOLERANCE))
            right = _match(iou[used][:, counts])
            ruled = right | ~(iof[used][:, ~counts] >= _IOU).any(axis=1)
            kept[name].append(np.stack([scored[used][ruled], right[ruled]]))
            pedestrians[name] += int(counts.sum())
    if num_images == 0:
        raise ValueError('there is no image to score')
    result: dict[str, Any] = {'miss_rates': {}, 'num_pedestrians': pedestrians}
    for name in setups:
        rates = _miss_rates(*np.concatenate(kept[name], axis=1), pedestrians[name], num_images)
        with np.errstate(divide='ignore'):
            result[name] = float(np.exp(np.log(rates).mean())) * 100
        result['miss_rates'][name] = rates * 100
    return result


def _overlaps(found: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intersection over union, and over the detection's own area, (D, N) each."""
    sides = (np.minimum(found[:, None, 2:], real[:, 2:])
             - np.maximum(found[:, None, :2], real[:, :2])).clip(min=0)
    both = sides.prod(axis=2)
    own, other = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (found, real))
    # Boxes without area share none with anything: 0 / 1.
    return (both / np.where(both > 0, own[:, None] + other - both, 1),
            both / np.where(both > 0, own[:, None], 1))


def _match(iou: np.ndarray) -> np.ndarray:
    """Which detections (D,) take one of the pedestrians, in turn, by (D, N) overlaps."""
    right = np.zeros(len(iou), bool)
    free = np.ones(iou.shape[1], bool)
    for row in np.flatnonzero((iou >= _IOU).any(axis=1)):
        near = np.flatnonzero(free & (iou[row] >= _IOU))
        if len(near):
            overlaps = iou[row, near]
            free[near[overlaps == overlaps.max()][-1]] = False
            right[row] = True
    return right


def _miss_rates(scores: np.ndarray, right: np.ndarray, pedestrians: int,
                num_images: int) -> np.ndarray:
    """Miss rate at each of ``FPPI_POINTS``, (9,); NaN without pedestrians."""
    if pedestrians == 0:
        return np.full(len(FPPI_POINTS), math.nan)
    if len(scores) == 0:
        return np.ones(len(FPPI_POINTS))
    right = right[np.argsort(-scores, kind='stable')]
    fppi = np.cumsum(1 - right) / num_images
    last = np.searchsorted(fppi, FPPI_POINTS, side='right') - 1  # -1 is the final one
    return 1 - np.cumsum(right)[last] / pedestrians


def _check(image: int, *arrays: Any) -> list[np.ndarray]:
    """The arrays of one image as float64, and the last as bool."""
    names = ('detections', 'scores', 'boxes', 'visibility', 'ignore')
    checked = []
    for name, array, like in zip(names, arrays, (None, 0, None, 2, 2), strict=True):
        array = np.asarray(array, bool if name == 'ignore' else np.float64)
        if like is None:
            array = array.reshape(0, 4) if array.size == 0 else array
            if array.ndim != 2 or array.shape[1] != 4:
                raise ValueError(f'{name} of image {image} must be (number, 4), got {array.shape}')
        elif array.shape != checked[like].shape[:1]:
            raise ValueError(f'{name} of image {image} must be one number for each of the '
                             f'{len(checked[like])} {names[like]}, got shape {array.shape}')
        if not np.isfinite(array).all():
            raise ValueError(f'{name} of image {image} hold a number that is not finite')
        checked.append(array)
    bad = (checked[2][:, 2:] < checked[2][:, :2]).any(axis=1)
    if bad.any():
        raise ValueError(f'box {checked[2][bad][0].tolist()} of image {image} is not x1, y1, x2, '
                         'y2: a corner lies beyond the other')
    return checked

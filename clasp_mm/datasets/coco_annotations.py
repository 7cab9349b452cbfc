"""What keeps an annotation in COCO's form from being used."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def box_fault(annotation: Mapping[str, Any]) -> str | None:
    """Why ``annotation['bbox']`` is no x, y, width, height; None if it is."""
    box = annotation.get('bbox')
    if box is None:
        return 'without bbox'
    if not _are_finite(box) or len(box) != 4:
        return 'with a bbox that is not four finite numbers'
    return None


def keypoints_fault(annotation: Mapping[str, Any]) -> str | None:
    """Why an annotation's box or keypoints cannot be used, however many there should be."""
    if fault := box_fault(annotation):
        return fault
    keypoints = annotation.get('keypoints')
    if keypoints is None or keypoints == []:
        return 'without keypoints'
    return None if _are_finite(keypoints) else 'with keypoints that are not finite numbers'


def unusable(file: str, annotation: Mapping[str, Any], fault: str) -> ValueError:
    """The error for a file that a host's metric reads as well."""
    return ValueError(
        f'{file}: annotation {annotation.get("id")} of image {annotation.get("image_id")} is '
        f'{fault}: the evaluation, which reads this file, would stop at it. Mend or remove it')


def has_area_inside(box: list[float], width: int, height: int) -> bool:
    """Whether x1, y1, x2, y2 covers any of the image; false where a number is not finite."""
    x1, y1, x2, y2 = box
    return (all(map(math.isfinite, box)) and max(x1, 0) < min(x2, width)
            and max(y1, 0) < min(y2, height))


def first(ids: Sequence, count: int = 3) -> str:
    """The first of some ids, as text."""
    return ', '.join(map(str, ids[:count])) + (', ...' if len(ids) > count else '')


def _are_finite(values: Any) -> bool:
    return isinstance(values, Sequence) and all(
        isinstance(value, int | float) and math.isfinite(value) for value in values)

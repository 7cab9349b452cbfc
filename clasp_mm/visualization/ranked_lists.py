"""Ranked lists of re-identification as a picture, and the telling queries of a test set."""

from collections.abc import Sequence

import cv2
import numpy as np

RIGHT, WRONG, PLAIN = (40, 160, 40), (200, 40, 40), (120, 120, 120)  # RGB
_FRAME, _GAP, _MARGIN = 4, 6, 18


def draw_ranked_list(query: np.ndarray, found: Sequence[np.ndarray], distances: Sequence[float],
                     right: Sequence[bool] | None = None, height: int = 160) -> np.ndarray:
    """The query, then its list: green frames are right, red ones wrong, grey ones not known.

    All images are (H, W, 3) uint8 RGB.

    Args:
        query: Image of the person sought.
        found: Images of the gallery, nearest first.
        distances: Of each.
        right: Whether each shows the query's person; None where that is not known.
        height: Of the pictures in pixels; they are half as wide.
    """
    size = (height // 2, height)
    frames = ([PLAIN] * len(found) if right is None else
              [RIGHT if flag else WRONG for flag in right])
    cells = [_cell(query, (0, 0, 0), size, 'query')]
    cells += [_cell(image, frame, size, f'{distance:.3f}') for image, frame, distance in
              zip(found, frames, distances, strict=True)]
    gap = np.full((cells[0].shape[0], _GAP, 3), 255, np.uint8)
    parts = [gap, cells[0], gap, gap, gap]
    for cell in cells[1:]:
        parts += [gap, cell]
    return np.concatenate([*parts, gap], axis=1)


def select_queries(average_precision: np.ndarray, count: int = 4) -> dict[str, list[int]]:
    """Queries around the median, the best and the worst, so that a page does not flatter.

    Args:
        average_precision: (Q,), NaN for queries that were skipped.
        count: How many of each.

    Returns:
        ``'median'``, ``'best'`` and ``'worst'``: rows of queries, none twice.
    """
    order = np.argsort(average_precision, kind='stable')
    order = order[~np.isnan(average_precision[order])]
    count = min(count, len(order) // 3) or min(1, len(order))
    begin = (len(order) - count) // 2
    groups = {'median': order[begin:begin + count], 'best': order[::-1][:count],
              'worst': order[:count]}
    seen: set[int] = set()
    chosen = {}
    for name, rows in groups.items():
        chosen[name] = [int(row) for row in rows if row not in seen]
        seen.update(chosen[name])
    return chosen


def _cell(image: np.ndarray, frame: tuple[int, int, int], size: tuple[int, int],
          text: str) -> np.ndarray:
    shrinks = image.shape[0] > size[1]
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    image = cv2.copyMakeBorder(image, *(_FRAME, ) * 4, cv2.BORDER_CONSTANT, value=frame)
    image = cv2.copyMakeBorder(image, 0, _MARGIN, 0, 0, cv2.BORDER_CONSTANT, value=(255, ) * 3)
    return cv2.putText(image, text, (_FRAME, image.shape[0] - 5), cv2.FONT_HERSHEY_SIMPLEX, .42,
                       (0, 0, 0), 1, cv2.LINE_AA)

"""Queries and what is near them, as a page shows them."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np


class Cell(NamedTuple):
    """An image on a page.

    Attributes:
        name: Its name.
        pictures: Its thumbnail and what else there is of it, each (H, W, 3) uint8 RGB; none where
            it has gone since.
        path: Its file.
        score: In words.
        kind: ``'right'`` or ``'wrong'``, where that is known.
        note: A word on it.
    """

    name: str
    pictures: Sequence[np.ndarray]
    path: str = ''
    score: str = ''
    kind: str = ''
    note: str = ''


class Row(NamedTuple):
    """A query and what was found for it, nearest first, under a heading."""

    query: Cell
    hits: Sequence[Cell]
    title: str = ''


def rows_of(cells: Sequence[Cell], order: np.ndarray, cosines: np.ndarray) -> list[Row]:
    """Rows of neighbours.

    Args:
        cells: The images.
        order: Of each query its cell and those of its k neighbours, (Q, 1 + k).
        cosines: Of the neighbours, (Q, k).
    """
    return [Row(cells[query]._replace(score='query'), [
        cells[i]._replace(score=f'cosine {cosine:.3f}')
        for i, cosine in zip(found, similar, strict=True)])
        for (query, *found), similar in zip(order, cosines, strict=True)]


def thumbnail(image: np.ndarray, height: int = 176, max_width: int = 132) -> np.ndarray:
    """The image (H, W, 3) scaled to fit into height and width."""
    scale = min(height / image.shape[0], max_width / image.shape[1])
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)

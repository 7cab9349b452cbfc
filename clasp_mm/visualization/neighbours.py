"""Queries and what is near them, as a page shows them."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np

_CHUNK = 1 << 16  # features in memory at once


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


def neighbour_rows(source: Any, rows: Sequence[int], features: np.ndarray, num_queries: int,
                   num_neighbours: int) -> list[Row]:
    """Rows of some of the images, spread evenly, each with its nearest neighbours by cosine.

    ``features`` (N, C) are of the images ``rows`` (N,) of a :class:`clasp_mm.datasets.LUPerson`.
    """
    @cache
    def cell(at: int) -> Cell:
        row = int(rows[at])
        return Cell(source.names[row], [thumbnail(source.load(row)['img'][..., ::-1])],
                    source.get_data_info(row)['img_path'])

    queries = np.unique(np.linspace(0, len(rows) - 1, num_queries).round().astype(np.int64))
    return [Row(cell(query)._replace(score='query'), [
        cell(at)._replace(score=f'cosine {cosine:.3f}')
        for at, cosine in zip(found, cosines, strict=True)])
        for query, found, cosines in
        zip(queries, *nearest_neighbours(features, queries, num_neighbours), strict=True)]


def nearest_neighbours(features: np.ndarray, queries: np.ndarray, count: int,
                       ) -> tuple[np.ndarray, np.ndarray]:
    """Exact nearest neighbours by cosine, itself left out.

    Args:
        features: (N, C), read in chunks.
        queries: Rows, (Q,).
        count: Neighbours of each, fewer where there are not so many.

    Returns:
        Rows and cosines, nearest first, each (Q, min(count, N - 1)).
    """
    count = min(count, len(features) - 1)
    asked = _unit(features[queries])
    best = np.full((len(queries), count), -np.inf, np.float32)
    found = np.zeros((len(queries), count), np.int64)
    for start in range(0, len(features), _CHUNK):
        cosines = asked @ _unit(features[start:start + _CHUNK]).T
        inside = (queries >= start) & (queries < start + _CHUNK)
        cosines[inside, queries[inside] - start] = -np.inf
        rows = np.broadcast_to(np.arange(start, start + cosines.shape[1]), cosines.shape)
        best, found = np.concatenate([best, cosines], 1), np.concatenate([found, rows], 1)
        order = np.argsort(-best, axis=1, kind='stable')[:, :count]
        best, found = (np.take_along_axis(x, order, 1) for x in (best, found))
    return found, best


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def thumbnail(image: np.ndarray, height: int = 176, max_width: int = 132) -> np.ndarray:
    """The image (H, W, 3) scaled to fit into height and width."""
    scale = min(height / image.shape[0], max_width / image.shape[1])
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)

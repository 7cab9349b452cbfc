"""Places of the true matches in the ranked gallery, without sorting it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from .reid_distances import FeatureDistances, MatrixDistances

_CHUNK_ELEMENTS = 1 << 25  # distances that are looked at together


class Protocol:
    """Which gallery images match a query, and which are taken out.

    Args:
        query_pids: (Q,) identities.
        gallery_pids: (G,).
        query_cams: (Q,) cameras; None, with ``gallery_cams``, takes out nothing.
        gallery_cams: (G,), or None.
        num_queries: Q.
        num_gallery: G.

    Attributes:
        same: For each query, gallery rows of its identity, ascending.
        matches: Of these, the ones that stay.
        removed: Of these, the ones under the query's own camera.

    Raises:
        ValueError: Shapes do not match, or one of the cameras is None.
    """

    def __init__(self, query_pids: Sequence[int], gallery_pids: Sequence[int],
                 query_cams: Sequence[int] | None, gallery_cams: Sequence[int] | None,
                 num_queries: int, num_gallery: int) -> None:
        if (query_cams is None) != (gallery_cams is None):
            raise ValueError('query_cams and gallery_cams must both be given or both be None')
        self.query_pids = _labels('query_pids', query_pids, num_queries)
        self.gallery_pids = _labels('gallery_pids', gallery_pids, num_gallery)
        self.has_cameras = query_cams is not None
        self.query_cams, self.gallery_cams = (
            np.full(number, default) if cams is None else _labels(name, cams, number)
            for name, cams, number, default in (('query_cams', query_cams, num_queries, 0),
                                                ('gallery_cams', gallery_cams, num_gallery, 1)))
        order = np.argsort(self.gallery_pids, kind='stable')
        begin, end = (np.searchsorted(self.gallery_pids[order], self.query_pids, side)
                      for side in ('left', 'right'))
        self.same = [order[a:b] for a, b in zip(begin, end, strict=True)]
        own = [self.gallery_cams[rows] == camera
               for rows, camera in zip(self.same, self.query_cams, strict=True)]
        self.matches = [rows[~mask] for rows, mask in zip(self.same, own, strict=True)]
        self.removed = [rows[mask] for rows, mask in zip(self.same, own, strict=True)]


def place_matches(distances: FeatureDistances | MatrixDistances, protocol: Protocol
                  ) -> Iterator[tuple[int, np.ndarray]]:
    """Rank the gallery for each query that has a match.

    Yields:
        The query's row and the places of its matches, from 1, ascending.
    """
    step = max(1, _CHUNK_ELEMENTS // distances.num_gallery)
    for start in range(0, len(protocol.matches), step):
        rows = slice(start, min(start + step, len(protocol.matches)))
        matches = protocol.matches[rows]
        bounds = _split(distances.exact(*_pairs(matches, start)), matches)
        rough, error = distances.rough(rows), distances.error(rows)
        local, columns = (torch.as_tensor(index, device=rough.device)
                          for index in _pairs(protocol.removed[rows], 0))
        rough[local, columns] = torch.inf
        # Only what may lie before the last match matters.
        limit = np.array([bound.max() if len(bound) else -np.inf for bound in bounds]) + error
        near = rough <= torch.as_tensor(limit, device=rough.device)[:, None]
        local, columns = near.nonzero(as_tuple=True)
        values = rough[local, columns].float().cpu().numpy()
        columns, counts = columns.cpu().numpy(), local.bincount(minlength=len(near)).tolist()
        ends = np.cumsum(counts)
        spans = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]

        unsure = [np.flatnonzero(_near_any(values[span], bound, off)) + span.start
                  for span, bound, off in zip(spans, bounds, error, strict=True)]
        at, (local, _) = np.concatenate(unsure), _pairs(unsure, start)
        values[at] = distances.exact(local, columns[at])
        for row, (span, bound, own) in enumerate(zip(spans, bounds, matches, strict=True)):
            if len(own):
                yield start + row, _places(values[span], columns[span], bound, own)


def _near_any(values: np.ndarray, bounds: np.ndarray, error: float) -> np.ndarray:
    """Whether each value is so near to any bound that rounding may have put it on either side."""
    unsure = np.zeros(len(values), bool)
    if error == 0 or not len(bounds):
        return unsure
    gap = np.empty_like(values)
    for bound in bounds:
        np.subtract(values, bound, out=gap)
        unsure |= np.abs(gap, out=gap) <= error
    return unsure


def _places(values: np.ndarray, columns: np.ndarray, bounds: np.ndarray,
            own: np.ndarray) -> np.ndarray:
    """Places of the columns ``own``, whose values are ``bounds``; equal values keep their order."""
    before = np.searchsorted(columns, own)
    return np.sort([
        1 + np.count_nonzero(values[:split] <= bound) + np.count_nonzero(values[split:] < bound)
        for split, bound in zip(before, bounds, strict=True)])


def _pairs(lists: Sequence[np.ndarray], start: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers from ``start``, and the entries, of lists of each row."""
    counts = [len(entries) for entries in lists]
    return (np.repeat(np.arange(start, start + len(lists)), counts),
            np.concatenate([*lists, np.zeros(0, np.int64)]).astype(np.int64))


def _split(values: np.ndarray, like: Sequence[np.ndarray]) -> list[np.ndarray]:
    return np.split(values, np.cumsum([len(entries) for entries in like])[:-1])


def _labels(name: str, values: Sequence[int], number: int) -> np.ndarray:
    values = np.asarray(values.cpu() if isinstance(values, torch.Tensor) else values)
    if values.shape != (number, ):
        raise ValueError(f'{name} must be one number for each of the {number} features, '
                         f'got shape {values.shape}')
    return values

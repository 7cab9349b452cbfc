"""Places of the true matches in the ranked gallery, without sorting it."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from .reid_distances import FeatureDistances, MatrixDistances

_CHUNK_ELEMENTS = 1 << 25  # distances that are looked at together
_INF = np.float32(np.inf)
_NONE = np.zeros(0, np.int64)
_FEW = 1 << 12  # values that are sorted to be counted


class Protocol:
    """Which gallery images match a query, and which are taken out.

    Args:
        query_pids: (Q,) identities; what is negative is nobody's and matches nothing.
        gallery_pids: (G,).
        query_cams: (Q,) cameras, of which a negative one is not known and equals no other; None,
            with ``gallery_cams``, takes out nothing.
        gallery_cams: (G,), or None.
        num_queries: Q.
        num_gallery: G.

    Attributes:
        same: For each query, gallery rows of its identity, ascending.
        matches: Rows of these that stay.

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
        end[self.query_pids < 0] = 0
        self.same = [order[a:b] for a, b in zip(begin, end, strict=True)]
        own = [(self.gallery_cams[rows] == camera) & (camera >= 0)
               for rows, camera in zip(self.same, self.query_cams, strict=True)]
        self.matches = [rows[~mask] for rows, mask in zip(self.same, own, strict=True)]


def with_own_files(cameras: np.ndarray, files: np.ndarray) -> np.ndarray:
    """Cameras, with one of its own for each file whose camera is not known.

    So a query's own file is taken out of the gallery, and nothing else, where its camera is not
    known.

    Args:
        cameras: (N,) numbers; what is negative is not known.
        files: (N,) names.
    """
    unknown = cameras < 0
    result = np.array(cameras, np.int64)
    result[unknown] = max(0, cameras.max() + 1) + np.unique(files[unknown], return_inverse=True)[1]
    return result


def place_matches(distances: FeatureDistances | MatrixDistances, protocol: Protocol
                  ) -> Iterator[tuple[int, np.ndarray]]:
    """Rank the gallery for each query that has a match.

    Yields:
        The query's row and the places of its matches, from 1, ascending.
    """
    step = max(1, _CHUNK_ELEMENTS // distances.num_gallery)
    for start in range(0, len(protocol.matches), step):
        rows = slice(start, start + step)
        matches = protocol.matches[rows]
        bounds = _split(distances.exact(*_pairs(matches, start)), matches)
        below, within = _compare(distances, protocol, rows, bounds)
        columns = [np.concatenate([_NONE, *own]) for own in within]
        values = _split(distances.exact(*_pairs(columns, start)), columns)
        for query, own in enumerate(matches, start):
            if len(own):
                at = query - start
                yield query, _places(own, bounds[at], below[at], within[at],
                                     _split(values[at], within[at]))


def _places(own: np.ndarray, bounds: np.ndarray, below: np.ndarray, within: list[np.ndarray],
            values: list[np.ndarray]) -> np.ndarray:
    """Places of a query's matches; equal distances keep the order of the gallery."""
    others = np.sort([
        sure + np.count_nonzero((value < bound) | ((value == bound) & (columns < match)))
        for match, bound, sure, columns, value in zip(
            own, bounds, below, within, values, strict=True)])
    return others + np.arange(1, len(own) + 1)


def _compare(distances: FeatureDistances | MatrixDistances, protocol: Protocol, rows: slice,
             bounds: list[np.ndarray]) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    """Of other people, what lies before each match by rough distances, and what may.

    The order of the matches among each other does not move their places. The distances of some
    queries are taken less the middle of the bounds, for numbers are the more exact the smaller.
    """
    middle = np.array([bound.mean() if len(bound) else 0. for bound in bounds], np.float64)
    rough = distances.rough(rows, middle)
    middle = middle * distances.takes_less
    local, columns = (torch.as_tensor(index, device=rough.device)
                      for index in _pairs(protocol.same[rows], 0))
    rough[local, columns] = torch.inf
    lows, highs = [], []
    for bound, less, off in zip(bounds, middle, distances.error(rows), strict=True):
        for ends, sign in ((lows, -1), (highs, 1)):
            end = (bound - less + sign * off).astype(np.float32)
            ends.append(np.nextafter(end, sign * _INF))
    # Only what may lie before the last match matters.
    limit = torch.tensor([own.max() if len(own) else -_INF for own in highs])
    near = rough <= limit.to(rough.device)[:, None]
    split = [_split_row(*one) for one in zip(_entries(rough, near), lows, highs, strict=True)]
    return [below for below, _ in split], [within for _, within in split]


def _entries(rough: Tensor, near: Tensor) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each row, values (float32) and columns of the near entries; of all where many are."""
    everything = np.arange(rough.shape[1])
    for row, mask in zip(rough, near, strict=True):
        # numpy takes 0.3 of the time of torch's nonzero.
        columns = mask.nonzero()[:, 0] if mask.is_cuda else torch.from_numpy(
            np.flatnonzero(mask.numpy()))
        if len(columns) > len(everything) / 8:
            yield row.float().cpu().numpy(), everything
        else:
            yield row[columns].float().cpu().numpy(), columns.cpu().numpy()


def _split_row(entries: tuple[np.ndarray, np.ndarray], lows: np.ndarray, highs: np.ndarray
               ) -> tuple[np.ndarray, list[np.ndarray]]:
    """How many values lie below each of ``lows``; the columns of those from there to ``highs``."""
    values, columns = entries
    if len(values) < _FEW:
        order = np.argsort(values)
        ranked, columns = values[order], columns[order]
        below = np.searchsorted(ranked, lows, 'left')
        ends = np.searchsorted(ranked, highs, 'right')
        within = [columns[begin:end] for begin, end in zip(below, ends, strict=True)]
    else:
        before = [values < low for low in lows]
        below = np.array([np.count_nonzero(mask) for mask in before], np.int64)
        within = [columns[np.flatnonzero((values <= high) ^ mask)]
                  for mask, high in zip(before, highs, strict=True)]
    return below, within


def _pairs(lists: Sequence[np.ndarray], start: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers from ``start``, and the entries, of lists of each row."""
    counts = [len(entries) for entries in lists]
    return (np.repeat(np.arange(start, start + len(lists)), counts),
            np.concatenate([*lists, _NONE]).astype(np.int64))


def _split(values: np.ndarray, like: Sequence[np.ndarray]) -> list[np.ndarray]:
    return np.split(values, np.cumsum([len(entries) for entries in like])[:-1])


def _labels(name: str, values: Sequence[int], number: int) -> np.ndarray:
    values = np.asarray(values.cpu() if isinstance(values, torch.Tensor) else values)
    if values.shape != (number, ):
        raise ValueError(f'{name} must be one number for each of the {number} features, '
                         f'got shape {values.shape}')
    return values

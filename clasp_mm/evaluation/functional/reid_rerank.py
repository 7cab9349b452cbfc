"""k-reciprocal re-ranking in the memory of one query-by-gallery matrix."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .reid_distances import FeatureDistances

_CHUNK_ELEMENTS = 1 << 22


def rerank_distances(queries: Tensor, gallery: Tensor, k1: int = 20, k2: int = 6,
                     lambda_value: float = .3, metric: str = 'euclidean') -> Tensor:
    """Distances that mix the Jaccard distance of k-reciprocal neighbours with the original one.

    Zhong et al., "Re-ranking person re-identification with k-reciprocal encoding", CVPR 2017,
    equations 3 to 12. The original distance is the squared Euclidean one, of each row divided by
    its largest. Neighbourhoods are kept as lists, never as matrices.

    Args:
        queries: (Q, C) float32 or float64.
        gallery: (G, C), on the same device.
        k1: Neighbours that may be reciprocal.
        k2: Neighbours whose encodings are averaged; 1 averages nothing.
        lambda_value: Share of the original distance.
        metric: ``'euclidean'``, or ``'cosine'``: of features at unit length.

    Returns:
        (Q, G) float32, on the CPU.

    Raises:
        ValueError: ``k1`` or ``k2`` is below 1, ``k2`` above ``k1`` + 1, or ``lambda_value`` not
            within 0 and 1.
    """
    if not 1 <= k2 <= k1 + 1 or k1 < 1 or not 0 <= lambda_value <= 1:
        raise ValueError(f're-ranking takes k1 >= 1, k2 in 1..k1+1 and lambda_value in 0..1, got '
                         f'{k1}, {k2} and {lambda_value}')
    everyone = torch.cat([queries, gallery])
    distances = FeatureDistances(everyone, everyone, normalize=metric == 'cosine')
    nearest, largest = _neighbours(distances, min(k1 + 1, len(everyone)))
    expanded = _expanded_reciprocal(nearest, k1)
    encoding = _Encoding.build(expanded, distances, largest)
    if k2 > 1:
        encoding = encoding.averaged(nearest[:, :k2])
    num_queries, result = len(queries), torch.empty(len(queries), len(gallery))
    jaccard = encoding.jaccard(num_queries)
    step = max(1, _CHUNK_ELEMENTS // len(everyone))
    for start in range(0, num_queries, step):
        rows = slice(start, min(start + step, num_queries))
        original = distances.rough(rows)[:, num_queries:].clamp(min=0).float().cpu()
        original /= torch.from_numpy(largest[rows, None])
        result[rows] = lambda_value * original
        for row in range(rows.start, rows.stop):
            result[row] += (1 - lambda_value) * torch.from_numpy(next(jaccard))
    return result


def _neighbours(distances: FeatureDistances, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of each image, itself first, (N, count), and its largest distance, (N,)."""
    total = distances.num_gallery
    # Filled in place: small arrays kept between large ones would split the heap.
    nearest, largest = np.empty((total, count), np.int64), np.empty(total, np.float32)
    columns = torch.arange(total, device=distances.queries.device)
    step = max(1, _CHUNK_ELEMENTS // total)
    for start in range(0, total, step):
        rows = slice(start, min(start + step, total))
        values = distances.rough(rows).float().clamp(min=0)
        local = torch.arange(len(values), device=values.device)
        values[local, local + start] = 0
        # Non-negative floats rank as their bits do; the column below them breaks ties.
        keys = values.view(torch.int32).long() << 32 | columns
        keys = keys.topk(count, dim=1, largest=False).values
        nearest[rows] = (keys & 0xffffffff).cpu().numpy()
        largest[rows] = values.amax(dim=1).cpu().numpy()
    largest[largest == 0] = 1
    return nearest, largest


def _expanded_reciprocal(nearest: np.ndarray, k1: int) -> list[np.ndarray]:
    """R*(p, k1) of each image: sorted rows (equations 3 and 5)."""
    half = nearest[:, :round(k1 / 2) + 1]
    mutual, mutual_half = _mutual(nearest), _mutual(half)
    half_size = mutual_half.sum(axis=1)
    expanded = []
    for near, keep in zip(nearest, mutual, strict=True):
        own = near[keep]
        theirs, valid = half[own], mutual_half[own]
        shared = (np.isin(theirs, own) & valid).sum(axis=1)
        added = shared > 2 / 3 * half_size[own]
        expanded.append(np.union1d(own, theirs[added][valid[added]]))
    return expanded


def _mutual(nearest: np.ndarray) -> np.ndarray:
    """Whether each image is among the neighbours of each of its neighbours, (N, k)."""
    own = np.arange(len(nearest))[:, None]
    found = np.zeros(nearest.shape, bool)
    for rank in range(nearest.shape[1]):
        found |= nearest[nearest, rank] == own
    return found


class _Encoding:
    """Sparse rows of non-negative weights of sum 1 (equations 7 and 11), columns ascending."""

    def __init__(self, columns: list[np.ndarray], weights: list[np.ndarray]) -> None:
        self.columns, self.weights = columns, weights

    @classmethod
    def build(cls, columns: list[np.ndarray], distances: FeatureDistances,
              largest: np.ndarray) -> _Encoding:
        counts = [len(own) for own in columns]
        rows = np.repeat(np.arange(len(columns)), counts)
        values = np.exp(-distances.exact(rows, np.concatenate(columns)) / largest[rows])
        values = np.split(values, np.cumsum(counts)[:-1])
        return cls(columns, [own / own.sum() for own in values])

    def averaged(self, nearest: np.ndarray) -> _Encoding:
        """Each row the mean of its neighbours' (equation 11)."""
        columns, weights = [], []
        for near in nearest:
            own, place = np.unique(np.concatenate([self.columns[i] for i in near]),
                                   return_inverse=True)
            values = np.concatenate([self.weights[i] for i in near])
            columns.append(own)
            weights.append(np.bincount(place, values) / len(near))
        return _Encoding(columns, weights)

    def jaccard(self, num_queries: int) -> Iterator[np.ndarray]:
        """Yield (G,) float32 Jaccard distances of each query's row (equation 10).

        Rows sum to 1, so the sum of the maxima is 2 less that of the minima.
        """
        gallery = slice(num_queries, None)
        counts = [len(own) for own in self.columns[gallery]]
        entries = np.concatenate(self.columns[gallery])
        order = np.argsort(entries, kind='stable')
        members = np.repeat(np.arange(len(counts)), counts)[order]
        weights = np.concatenate(self.weights[gallery])[order]
        ends = np.cumsum(np.bincount(entries, minlength=len(self.columns)))
        for columns, own in zip(self.columns[:num_queries], self.weights, strict=False):
            lists = [slice(ends[column - 1] if column else 0, ends[column]) for column in columns]
            shared = np.bincount(
                np.concatenate([members[span] for span in lists]),
                np.concatenate([np.minimum(weights[span], weight)
                                for span, weight in zip(lists, own, strict=True)]),
                minlength=len(counts))
            yield (1 - shared / (2 - shared)).astype(np.float32)

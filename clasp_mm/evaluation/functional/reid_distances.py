"""Distances between queries and a gallery, a few rows at a time: fast ones, and exact ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_PAIR_ELEMENTS = 1 << 20  # features that are compared exactly at a time


def as_features(name: str, features: np.ndarray | Tensor) -> Tensor:
    """Features as a tensor (number, channels), on the GPU where there is one.

    Raises:
        ValueError: The shape is another one, or a feature is not finite.
    """
    features = torch.as_tensor(features).detach()
    if features.dtype not in (torch.float32, torch.float64):
        features = features.double()
    if features.ndim != 2 or len(features) == 0:
        raise ValueError(f'{name} features must be (number, channels) with at least one row, got '
                         f'{tuple(features.shape)}')
    # A sum of finite numbers may overflow, so only the slower look decides.
    if not features.sum(dim=1).isfinite().all() and not (
            finite := torch.cat([rows.isfinite().all(dim=1) for rows in features.split(1 << 14)])
    ).all():
        raise ValueError(f'{int((~finite).sum())} {name} features are not finite, the first in '
                         f'row {int(finite.int().argmin())}')
    return features.cuda() if torch.cuda.is_available() else features


class FeatureDistances:
    """Squared Euclidean distances of features.

    :meth:`rough` multiplies matrices, of features whose mean was taken off so that they are small;
    :meth:`exact` subtracts the features of single pairs. A ranking takes the first and settles by
    the second what lies within ``error`` of each other. The matrices are float32 on the CPU and
    float64 on a GPU, whose float32 products may be TensorFloat's.

    Args:
        queries: (Q, C) float32 or float64.
        gallery: (G, C), on the same device.
        normalize: Take the distances of the features at unit length.
    """

    def __init__(self, queries: Tensor, gallery: Tensor, normalize: bool = False) -> None:
        self.queries, self.gallery, self.normalize = queries, gallery, normalize
        self.num_gallery = len(gallery)
        dtype = torch.float64 if queries.is_cuda else torch.float32
        # Any offset leaves the distances as they are; a good one makes the numbers small.
        mean = gallery.mean(dim=0)
        if normalize:
            mean = mean.double() / gallery.double().norm(dim=1).mean()
        self._queries, self._gallery = (
            self._centred(given, mean, dtype) for given in (queries, gallery))
        squares = [rows.square().sum(dim=1, keepdim=True)
                   for rows in (self._queries, self._gallery)]
        self._lengths = [rows[:, 0].double().sqrt() for rows in squares]
        # |q - g|^2 = -2 q g + 1 |g|^2 + |q|^2 1, one product of matrices.
        self._queries = torch.cat([-2 * self._queries, torch.ones_like(squares[0]), squares[0]], 1)
        self._gallery = torch.cat([self._gallery, squares[1], torch.ones_like(squares[1])], 1)
        # Rounding of the centred features, of a sum of C products, and of the result to float32.
        self._error = (torch.finfo(dtype).eps * (queries.shape[1]**.5 + 4)
                       + torch.finfo(torch.float32).eps)

    def rough(self, rows: slice) -> Tensor:
        """(R, G) distances to within :meth:`error`."""
        queries, gallery = self._queries[rows], self._gallery.T
        if queries.is_cuda:
            with torch.autocast('cuda', enabled=False):
                return queries @ gallery
        # numpy's BLAS took 0.6 of the time of torch's on an AMD EPYC.
        return torch.from_numpy(queries.numpy() @ gallery.numpy())

    def error(self, rows: slice) -> np.ndarray:
        """(R,) what rough distances may be off the exact ones."""
        queries, gallery = self._lengths
        reach = queries[rows] + gallery.max()
        return (self._error * reach.square()).cpu().numpy()

    def exact(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(N,) float32 distances of pairs, computed in float64."""
        found, step = np.empty(len(rows), np.float32), max(
            1, _PAIR_ELEMENTS // self.queries.shape[1])
        for start in range(0, len(rows), step):
            pair = [self._double(features[torch.as_tensor(index[start:start + step],
                                                          device=features.device)])
                    for features, index in ((self.queries, rows), (self.gallery, columns))]
            difference = pair[0].sub_(pair[1])
            found[start:start + step] = difference.square_().sum(dim=1).float().cpu().numpy()
        return found

    def _centred(self, features: Tensor, mean: Tensor, dtype: torch.dtype) -> Tensor:
        """Features less their mean, rounded once."""
        if features.dtype == dtype and not self.normalize:
            return features - mean
        return torch.cat([(self._double(rows) - mean).to(dtype)
                          for rows in features.split(1 << 11)])

    def _double(self, features: Tensor) -> Tensor:
        features = features.double()
        return F.normalize(features, dim=1) if self.normalize else features


class MatrixDistances:
    """Distances that are all there; methods as of :class:`FeatureDistances`.

    Args:
        matrix: (Q, G) float32.
    """

    def __init__(self, matrix: Tensor) -> None:
        self.matrix, self.num_gallery = matrix, matrix.shape[1]

    def rough(self, rows: slice) -> Tensor:
        """(R, G) distances."""
        return self.matrix[rows].clone()

    def error(self, rows: slice) -> np.ndarray:
        """(R,) zeros."""
        return np.zeros(len(self.matrix[rows]))

    def exact(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(N,) distances of pairs."""
        rows, columns = (torch.as_tensor(index, device=self.matrix.device)
                         for index in (rows, columns))
        return self.matrix[rows, columns].cpu().numpy()

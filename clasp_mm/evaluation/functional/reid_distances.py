"""Distances between queries and a gallery, a few rows at a time: fast ones, and exact ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clasp_mm.utils.device import pick_device

from .reid_products import Products, coarse_pays

_PAIR_ELEMENTS = 1 << 16  # features that are compared exactly at a time, within the cache


def as_features(name: str, features: np.ndarray | Tensor,
                device: str | torch.device | None = None) -> Tensor:
    """Features as a tensor (number, channels), by default on the GPU where there is one.

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
    if device is None and features.is_cuda:
        return features
    return features.to(pick_device(device))


class FeatureDistances:
    """Squared Euclidean distances of features.

    :meth:`rough` multiplies matrices, :meth:`exact` subtracts the features of single pairs. A
    ranking takes the first and settles by the second what lies within :meth:`error` of each other.
    The matrices are float32 on the CPU, where ``coarse`` allows bfloat16 first, and float64 on a
    GPU, whose float32 products may be TensorFloat's.

    Args:
        queries: (Q, C) float32 or float64.
        gallery: (G, C), on the same device.
        normalize: Take the distances of the features at unit length.
        coarse: Begin with bfloat16 where that is faster, until :meth:`refine` is called.
    """

    takes_less = True

    def __init__(self, queries: Tensor, gallery: Tensor, normalize: bool = False,
                 coarse: bool = False) -> None:
        self.queries, self.gallery, self.normalize = queries, gallery, normalize
        self.num_gallery = len(gallery)
        # Any offset leaves the distances as they are; a good one makes the numbers small.
        some = gallery[::max(1, len(gallery) >> 12)]
        self._mean = (self._double(some) if normalize else some).mean(dim=0)
        self._multiply(torch.bfloat16 if coarse and coarse_pays(queries, gallery) else
                       torch.float64 if queries.is_cuda else torch.float32)

    def rough(self, rows: slice, less: np.ndarray | None = None) -> Tensor:
        """(R, G) distances, ``less`` (R, ) numbers, to within :meth:`error`."""
        return self._products(rows, less)

    def error(self, rows: slice) -> tuple[np.ndarray, float]:
        """(R, ) what rough distances may be off the exact ones, and the share of their size."""
        return self._products.error(rows)

    def refine(self) -> bool:
        """Have :meth:`rough` more exact, if that is possible."""
        if self._products.dtype != torch.bfloat16:
            return False
        self._multiply(torch.float32)
        return True

    def exact(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(N, ) float32 distances of pairs, computed in float64."""
        found, step = np.empty(len(rows), np.float32), max(
            1, _PAIR_ELEMENTS // self.queries.shape[1])
        for start in range(0, len(rows), step):
            pair = [self._double(features[torch.as_tensor(index[start:start + step],
                                                          device=features.device)])
                    for features, index in ((self.queries, rows), (self.gallery, columns))]
            difference = pair[0].sub_(pair[1])
            found[start:start + step] = difference.square_().sum(dim=1).float().cpu().numpy()
        return found

    def _multiply(self, dtype: torch.dtype) -> None:
        self._products = None  # frees the memory of the old
        self._products = Products(self.queries, self.gallery, self._mean,
                                  self._double if self.normalize else None, dtype)

    def _double(self, features: Tensor) -> Tensor:
        features = features.double()
        return F.normalize(features, dim=1) if self.normalize else features


class MatrixDistances:
    """Distances that are all there; methods as of :class:`FeatureDistances`.

    Args:
        matrix: (Q, G) float32.
    """

    takes_less = False  # they would be rounded

    def __init__(self, matrix: Tensor) -> None:
        self.matrix, self.num_gallery = matrix, matrix.shape[1]

    def rough(self, rows: slice, less: None = None) -> Tensor:
        """(R, G) distances."""
        return self.matrix[rows].clone()

    def error(self, rows: slice) -> tuple[np.ndarray, float]:
        """(R, ) zeros, and zero."""
        return np.zeros(len(self.matrix[rows])), 0.

    def refine(self) -> bool:
        """They are as exact as can be."""
        return False

    def exact(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(N,) distances of pairs."""
        rows, columns = (torch.as_tensor(index, device=self.matrix.device)
                         for index in (rows, columns))
        return self.matrix[rows, columns].cpu().numpy()

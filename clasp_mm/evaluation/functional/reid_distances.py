"""Distances between queries and a gallery, a few rows at a time: fast ones, and exact ones."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clasp_mm.utils.device import pick_device

_ROWS = 1 << 11  # prepared at a time, so that they stay in the cache
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
    if not features.sum(dim=1).isfinite().all():  # it may overflow: the slower look decides
        finite = torch.cat([rows.isfinite().all(dim=1) for rows in features.split(1 << 14)])
        if not finite.all():
            raise ValueError(f'{int((~finite).sum())} {name} features are not finite, the first '
                             f'in row {int(finite.int().argmin())}')
    if device is None and features.is_cuda:
        return features
    return features.to(pick_device(device))


class FeatureDistances:
    """Squared Euclidean distances of features.

    :meth:`rough` multiplies matrices, :meth:`exact` subtracts the features of single pairs. A
    ranking takes the first and settles by the second what lies within :meth:`error` of each other.
    The matrices are float32 on the CPU, and float64 on a GPU, whose float32 products may be
    TensorFloat's.

    |q - g|^2 - a = -2 q g + 1 |g|^2 + (|q|^2 - a) 1, so that one product gives the distances less
    any number ``a`` of the query's. A mean is taken off the features, which makes them small.

    Args:
        queries: (Q, C) float32 or float64.
        gallery: (G, C), on the same device.
        normalize: Take the distances of the features at unit length.
    """

    takes_less = True

    def __init__(self, queries: Tensor, gallery: Tensor, normalize: bool = False) -> None:
        self.queries, self.gallery, self.normalize = queries, gallery, normalize
        self.num_gallery, channels = gallery.shape
        some = gallery[::max(1, len(gallery) >> 12)]
        mean = (self._double(some) if normalize else some).mean(dim=0)
        self._right, lengths = self._factors(gallery, mean, 1)
        self._left, self._lengths = self._factors(queries, mean, -2)
        self._right[:, -1] = 1
        self._left[:, -2] = 1
        # Rounding of the centred features, of a sum of C products, and of the result to float32.
        eps = (torch.finfo(self._left.dtype).eps * (channels**.5 + 4)
               + 2 * torch.finfo(torch.float32).eps)
        self._error = (eps * (self._lengths + lengths.max()).square()).cpu().numpy()

    def rough(self, rows: slice, less: np.ndarray | None = None) -> Tensor:
        """(R, G) distances, ``less`` (R, ) numbers, to within :meth:`error`."""
        left, squares = self._left[rows].clone(), self._lengths[rows].square()
        if less is not None:
            squares = squares - torch.as_tensor(less, device=squares.device)
        left[:, -1] = squares
        if left.is_cuda:
            with torch.autocast('cuda', enabled=False):
                return left @ self._right.T
        # numpy's BLAS took 0.6 of the time of torch's on an AMD EPYC.
        return torch.from_numpy(left.numpy() @ self._right.numpy().T)

    def error(self, rows: slice) -> np.ndarray:
        """(R, ) what rough distances may be off the exact ones."""
        return self._error[rows]

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

    def _factors(self, features: Tensor, mean: Tensor, factor: int) -> tuple[Tensor, Tensor]:
        """Factors of the product, (n, C + 2), and lengths of the features less the mean, (n, )."""
        dtype = torch.float64 if features.is_cuda else torch.float32
        number, channels = features.shape
        sides = features.new_empty(number, channels + 2, dtype=dtype)
        lengths = features.new_empty(number, dtype=torch.float64)
        for start in range(0, number, _ROWS):
            rows = slice(start, start + _ROWS)
            centred = features[rows]
            if self.normalize or dtype == torch.float64:
                centred = self._double(centred)
            centred = (centred - mean).to(dtype)
            lengths[rows] = torch.linalg.vector_norm(centred, dim=1).double()
            torch.mul(centred, factor, out=sides[rows, :channels])
        sides[:, -2] = lengths.square()
        return sides, lengths

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

    def error(self, rows: slice) -> np.ndarray:
        """(R, ) zeros."""
        return np.zeros(len(self.matrix[rows]))

    def exact(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(N,) distances of pairs."""
        rows, columns = (torch.as_tensor(index, device=self.matrix.device)
                         for index in (rows, columns))
        return self.matrix[rows, columns].cpu().numpy()

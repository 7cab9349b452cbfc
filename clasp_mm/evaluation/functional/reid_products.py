"""Squared distances of two sets of features as one product of matrices, and how far off it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor

_ROWS = 1 << 11  # prepared at a time, so that they stay in the cache
_WORTH = 1 << 30  # multiplications from which another precision is thought of


class Products:
    """|q - g|^2 of rows of features, multiplied in one precision.

    |q - g|^2 - a = -2 q g + 1 |g|^2 + (|q|^2 - a) 1, so that one product gives the distances less
    any number ``a`` of the query's. Its mean is taken off the features, which makes them small.

    bfloat16 has 8 bits. The lengths enter as three such numbers each, which hold them exactly; the
    features are rounded, and how far that moves each is measured.

    Args:
        queries: (Q, C) float32 or float64.
        gallery: (G, C), on the same device.
        mean: (C, ) what is taken off.
        prepare: Makes rows (n, C) float64 out of given ones, before the mean is taken off; None
            where they are taken as they are, in their own precision.
        dtype: Precision of the products: float64, float32 or, on CPUs, bfloat16.
    """

    def __init__(self, queries: Tensor, gallery: Tensor, mean: Tensor,
                 prepare: Callable[[Tensor], Tensor] | None, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._parts = 3 if dtype == torch.bfloat16 else 1
        self._gallery, lengths, moved = self._side(gallery, mean, prepare, 1)
        self._queries, self._lengths, own_moved = self._side(queries, mean, prepare, -2)
        self._queries[:, queries.shape[1]:-self._parts] = 1
        self._squares = self._lengths.square()
        self._gallery[:, -self._parts:] = 1
        longest, furthest = lengths.max(), moved.max()
        # Rounding of the centred features, of a sum of C products, and of the result to float32.
        self._error = (
            2 * (own_moved * longest + (self._lengths + own_moved) * furthest)
            + (torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32).eps
               * (queries.shape[1]**.5 + 4) + 2 * torch.finfo(torch.float32).eps)
            * (self._lengths + longest).square()).cpu().numpy()

    def __call__(self, rows: slice, less: np.ndarray | None = None) -> Tensor:
        """(R, G) distances, ``less`` (R, ) numbers, to within :meth:`error`."""
        queries, squares = self._queries[rows].clone(), self._squares[rows]
        if less is not None:
            squares = squares - torch.as_tensor(less, device=squares.device)
        self._write(queries[:, -self._parts:], squares)
        if self.dtype == torch.bfloat16:
            return queries @ self._gallery.T
        if queries.is_cuda:
            with torch.autocast('cuda', enabled=False):
                return queries @ self._gallery.T
        # numpy's BLAS took 0.6 of the time of torch's on an AMD EPYC.
        return torch.from_numpy(queries.numpy() @ self._gallery.numpy().T)

    def error(self, rows: slice) -> tuple[np.ndarray, float]:
        """(R, ) what distances may be off the exact ones, and the share of their size beside."""
        share = torch.finfo(torch.bfloat16).eps / 2 if self.dtype == torch.bfloat16 else 0.
        return self._error[rows], share

    def _side(self, features: Tensor, mean: Tensor, prepare: Callable | None, factor: int
              ) -> tuple[Tensor, Tensor, Tensor]:
        """Factors of the product, (n, C + 2 parts), and, (n, ), lengths and how far they moved."""
        number, channels = features.shape
        sides = features.new_empty(number, channels + 2 * self._parts, dtype=self.dtype)
        lengths = features.new_empty(number, dtype=torch.float64)
        moved = features.new_zeros(number, dtype=torch.float64)
        for start in range(0, number, _ROWS):
            rows = slice(start, start + _ROWS)
            centred = features[rows]
            if prepare is not None or self.dtype == torch.float64:
                centred = (prepare or Tensor.double)(centred)
            centred = centred - mean
            if self.dtype != torch.float64:
                centred = centred.float()
            lengths[rows] = squares = torch.linalg.vector_norm(centred, dim=1).double()
            squares = squares.square()
            if self.dtype == torch.bfloat16:
                rounded = centred.bfloat16()
                moved[rows] = torch.linalg.vector_norm(rounded - centred, dim=1)
                centred = rounded
            torch.mul(centred, factor, out=sides[rows, :channels])
            self._write(sides[rows, channels:channels + self._parts], squares)
        return sides, lengths, moved

    def _write(self, columns: Tensor, values: Tensor) -> None:
        """Numbers (n, ) as the sum of columns (n, parts)."""
        for column in columns.unbind(1):
            column.copy_(values)
            values = values - column.double()


@cache
def _bfloat16_is_faster() -> bool:
    times = []
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.ones(64, 1024, dtype=dtype), torch.ones(1024, 1024, dtype=dtype)
        taken = []
        for _ in range(4):
            start = time.perf_counter()
            if dtype == torch.float32:
                a.numpy() @ b.numpy().T
            else:
                a @ b.T
            taken.append(time.perf_counter() - start)
        times.append(min(taken))
    return times[1] < .8 * times[0]


def coarse_pays(queries: Tensor, gallery: Tensor) -> bool:
    """Whether to begin with bfloat16: a large task on a CPU that has instructions for it."""
    return (not queries.is_cuda and len(queries) * gallery.numel() > _WORTH
            and _bfloat16_is_faster())

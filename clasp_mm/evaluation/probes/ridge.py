"""Ridge regression on features that arrive in batches: one pass, no feature is kept."""

import torch
from torch import Tensor

from clasp_mm.utils.device import pick_device


class Ridge:
    """Least squares from features to targets with weight decay, from sums over all rows.

    With the features standardised by their mean and deviation over all rows, it minimises
    ``mean |x W + b - y|^2 + l2 |W|^2`` exactly. Memory is (C + T)^2, whatever the number of rows,
    and the result depends on neither their order nor their batches, but for rounding (float64). The
    sums are where the program computes, see :func:`clasp_mm.utils.device.pick_device`.

    Args:
        num_features: C.
        num_targets: T.
    """

    def __init__(self, num_features: int, num_targets: int) -> None:
        self.num_features = num_features
        size = num_features + num_targets
        self.count = 0
        self.sums = torch.zeros(size, dtype=torch.float64, device=pick_device())
        self.products = self.sums.new_zeros(size, size)

    def add(self, features: Tensor, targets: Tensor) -> None:
        """Add rows: features (N, C) and targets (N, T)."""
        rows = torch.cat([features.to(self.sums), targets.to(self.sums)], 1)
        self.count += len(rows)
        self.sums += rows.sum(0)
        self.products += rows.T @ rows

    def solve(self, l2: float = 1e-2) -> tuple[Tensor, Tensor]:
        """The solution for features as they were added, not standardised.

        Args:
            l2: Weight decay of the standardised features, above 0.

        Returns:
            W (C, T) and b (T,), float32 on the CPU and float64 on a GPU, whose float32 products
            may be TensorFloat's.

        Raises:
            ValueError: Nothing was added, or something not finite.
        """
        if self.count == 0 or not self.products.isfinite().all():
            raise ValueError('no rows to learn from' if self.count == 0 else
                             'features or targets hold values that are not finite')
        mean = self.sums / self.count
        covariance = self.products / self.count - mean[:, None] * mean
        split = self.num_features
        deviation = covariance.diagonal()[:split].clamp(min=0).sqrt()
        scale = torch.where(deviation <= 1e-6 * mean[:split].abs(), torch.ones_like(deviation),
                            deviation).clamp(min=1e-12)
        gram = covariance[:split, :split] / (scale[:, None] * scale)
        gram.diagonal().add_(l2)
        weight = torch.linalg.solve(gram, covariance[:split, split:] / scale[:, None])
        weight = weight / scale[:, None]
        dtype = torch.float32 if weight.device.type == 'cpu' else torch.float64
        return weight.to(dtype), (mean[split:] - mean[:split] @ weight).to(dtype)

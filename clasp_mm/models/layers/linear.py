"""Linear layers, on CPUs by oneDNN, fused with GELU where no gradient is wanted."""

import torch.nn.functional as F
from torch import Tensor, nn

from .cpu import has_hooks, onednn_linear, onednn_takes


def init_linear(module: nn.Module) -> None:
    """Truncated normal weights of std 0.02 and zero biases, where it is a linear layer."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Tensor:
    """Linear map, then GELU if asked for.

    Args:
        x: (..., C).
        weight: (D, C).
        bias: (D,) or None.
        gelu: Whether GELU (the exact one) follows.

    Returns:
        (..., D).
    """
    if onednn_takes(x, weight):
        return onednn_linear(x, weight, bias, gelu)
    x = F.linear(x, weight, bias)
    return F.gelu(x) if gelu else x


class Linear(nn.Linear):
    """:class:`torch.nn.Linear` by :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., D)."""
        return linear(x, self.weight, self.bias)


class LinearGELU(nn.Sequential):
    """Linear layer, GELU and dropout, the first two by one call of :func:`linear`."""

    def __init__(self, in_features: int, out_features: int, drop_rate: float = 0.) -> None:
        super().__init__(Linear(in_features, out_features), nn.GELU(), nn.Dropout(drop_rate))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., D)."""
        layer, _, dropout = self
        if type(layer) is not Linear or has_hooks(layer):
            return super().forward(x)  # somebody wants to see, or has changed, the layer
        return dropout(linear(x, layer.weight, layer.bias, gelu=True))

"""DINO's projection head."""

from itertools import pairwise

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from clasp_mm.registry import MODELS

from ..layers.linear import init_linear


class NormalizedLinear(nn.Module):
    """Cosine to ``out_features`` unit prototypes; DINO's weight-normalised layer with gain 1."""

    def __init__(self, in_features: int, out_features: int, learn_gain: bool = False) -> None:
        super().__init__()
        linear = nn.Linear(in_features, out_features, bias=False)
        self.weight = linear.weight
        self.gain = nn.Parameter(self.weight.new_ones(out_features)) if learn_gain else None

    def forward(self, x: Tensor) -> Tensor:
        """Map unit vectors (..., in_features) to logits (..., out_features)."""
        # The logits are divided by the prototypes' norms: few rows of K, where dividing the
        # prototypes would make, forward and backward, half a dozen more tensors of their size.
        logits = F.linear(x, self.weight) / self.weight.norm(dim=1).clamp_min(1e-12)
        return logits if self.gain is None else logits * self.gain


@MODELS.register_module()
class DINOHead(BaseModule):
    """Pooled feature -> MLP -> bottleneck on the unit sphere -> prototypes (DINO, section 3.1).

    Args:
        in_channels: C of the pooled feature.
        out_dim: Number of prototypes.
        hidden_dim: Width of the MLP.
        bottleneck_dim: Width before the prototypes.
        num_layers: Linear layers of the MLP.
        norm_last_layer: Keep every prototype's gain at 1.
        init_cfg: MMEngine initialisation config.

    Example:
        >>> head = DINOHead(in_channels=8, out_dim=16, hidden_dim=8, bottleneck_dim=4)
        >>> head(torch.rand(2, 8)).shape
        torch.Size([2, 16])
    """

    def __init__(self,
                 in_channels: int,
                 out_dim: int = 65536,
                 hidden_dim: int = 2048,
                 bottleneck_dim: int = 256,
                 num_layers: int = 3,
                 norm_last_layer: bool = True,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if num_layers < 1:
            raise ValueError(f'DINOHead needs at least one layer, got num_layers={num_layers}')
        widths = [in_channels] + [hidden_dim] * (num_layers - 1) + [bottleneck_dim]
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            layers += [nn.Linear(width_in, width_out), nn.GELU()]
        self.mlp = nn.Sequential(*layers[:-1])
        self.last_layer = NormalizedLinear(bottleneck_dim, out_dim, learn_gain=not norm_last_layer)
        self.out_dim = out_dim
        self.mlp.apply(init_linear)  # as DINO does

    def forward(self, x: Tensor) -> Tensor:
        """Map pooled features (B, C) to logits (B, out_dim)."""
        return self.last_layer(F.normalize(self.mlp(x), dim=-1))

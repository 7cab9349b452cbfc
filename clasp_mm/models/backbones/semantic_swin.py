"""SOLIDER's Swin: a semantic controller scales and shifts the tokens between its stages."""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clasp_mm.registry import MODELS

from .pcmoe_swin import Embedded, PCMoESwin


@MODELS.register_module()
class SemanticSwin(PCMoESwin):
    """Swin Transformer with the semantic controller of SOLIDER (arXiv 2303.17602).

    With l = (lambda, 1 - lambda), the tokens x after the patch merging of stage i become
    ``x * softplus(W_i l + w_i) + B_i l + b_i``. Maps are put out before that, so the first is
    never controlled. SOLIDER's files have a fourth pair (W, B), whose result its code throws
    away; it has no place here and is reported as ignored when such a file is loaded.

    A new controller changes nothing (scale 1, shift 0), so that training goes on from a plain
    Swin where that ended; SOLIDER starts its own at scale softplus(0).

    Args:
        arch: As in :class:`PCMoESwin`.
        semantic_weight: lambda where ``forward`` gives none, in [0, 1]: 1 asks for semantics,
            0 for appearance. None: ``forward`` must give it.
        **kwargs: As in :class:`PCMoESwin`, but for ``task`` and ``moe``.

    Raises:
        ValueError: If an argument is unknown or out of range.

    Example:
        >>> backbone = SemanticSwin('nano', semantic_weight=0.2)
        >>> [tuple(maps.shape) for maps in backbone(torch.rand(1, 3, 64, 32))]
        [(1, 256, 2, 1)]
    """

    def __init__(self, arch: str | Mapping = 'tiny', semantic_weight: float | None = None,
                 **kwargs: Any) -> None:
        for name in ('task', 'moe'):
            if name in kwargs:
                raise ValueError(f'SemanticSwin has no {name} (got {kwargs[name]!r}): its tasks '
                                 'are told apart by semantic_weight=0 to 1')
        if semantic_weight is not None and not 0 <= semantic_weight <= 1:
            raise ValueError(f'semantic_weight={semantic_weight} must lie in [0, 1]')
        super().__init__(arch=arch, moe=None, **kwargs)
        self.semantic_weight = semantic_weight
        for name, bias in (('semantic_embed_w', math.log(math.e - 1)), ('semantic_embed_b', 0.)):
            layers = nn.ModuleList(nn.Linear(2, dim) for dim in self.num_features[1:])
            for layer in layers:
                nn.init.zeros_(layer.weight)
                nn.init.constant_(layer.bias, bias)
            self.add_module(name, layers)
        self._freeze()

    def forward(self, x: Tensor, semantic_weight: float | Tensor | None = None
                ) -> tuple[Tensor, ...]:
        """Feature maps of images.

        Args:
            x: (B, in_channels, H, W), of any size.
            semantic_weight: As the constructor's, which it replaces, or one an image, (B,).

        Returns:
            Normed maps (B, C_i, H_i, W_i), one per entry of ``out_indices``.

        Raises:
            ValueError: If no weight is given here or at construction.
        """
        return super().forward(x, semantic_weight)

    def from_embed(self, embedded: Embedded, semantic_weight: float | Tensor | None = None,
                   first: int = 0) -> tuple[tuple[Tensor, ...], list]:
        """As :meth:`PCMoESwin.from_embed`, of :meth:`forward`; the list of gates is empty."""
        return super().from_embed(embedded, semantic_weight, first)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """As :meth:`PCMoESwin.get_layer_depth`; a controller counts with the merging before it."""
        name = param_name.removeprefix(prefix).split('.')
        if name[0].startswith('semantic_embed_') and param_name.startswith(prefix):
            return sum(self.depths[:int(name[1]) + 1]), sum(self.depths) + 2
        return super().get_layer_depth(param_name, prefix)

    def _merge(self, stage: int, x: Tensor, hw: tuple[int, int], prompt: Tensor
               ) -> tuple[Tensor, tuple[int, int]]:
        """Patch merging, then the controller's scale and shift."""
        x, hw = super()._merge(stage, x, hw, prompt)
        scale = F.softplus(self.semantic_embed_w[stage](prompt))
        return x * scale[:, None] + self.semantic_embed_b[stage](prompt)[:, None], hw

    def _prompts(self, weight: float | Tensor | None, x: Tensor) -> list[Tensor]:
        """(lambda, 1 - lambda) of each image, (B or 1, 2), for each stage."""
        weight = self.semantic_weight if weight is None else weight
        if weight is None:
            raise ValueError('no semantic weight: give semantic_weight=0 (appearance) to 1 '
                             '(semantics) in the config or in forward')
        weight = torch.as_tensor(weight, dtype=x.dtype, device=x.device).reshape(-1, 1)
        if weight.shape[0] not in (1, x.shape[0]):
            raise ValueError(f'{len(weight)} semantic weights for {len(x)} images: give one for '
                             'all or one an image')
        return [torch.cat([weight, 1 - weight], dim=1)] * self.num_stages

    def _freeze(self) -> None:
        super()._freeze()
        last = max(self.out_indices)
        for name in ('semantic_embed_w', 'semantic_embed_b'):
            for i, layer in enumerate(getattr(self, name, ())):
                if i <= self.frozen_stages or i >= last:
                    layer.requires_grad_(False)

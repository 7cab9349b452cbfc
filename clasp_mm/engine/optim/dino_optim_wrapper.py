"""DINO's gradient rules: clip each tensor by itself, and freeze the prototypes at first."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch.nn import Parameter

from clasp_mm.compat.private_torch import foreach_mul_, foreach_norm
from clasp_mm.registry import OPTIM_WRAPPERS


def clip_each_(parameters: Sequence[Parameter], max_norm: float) -> None:
    """Scale each parameter's gradient to a norm of at most ``max_norm``, without a host sync."""
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return
    norms = torch.stack(foreach_norm(grads))
    scales = torch.clamp(max_norm / (norms + 1e-6), max=1.0)
    foreach_mul_(grads, scales.unbind())


class _DINOGradients:
    """Mixin: ``frozen`` parameters get no update, the others' gradients are clipped one by one.

    Args:
        clip_each: Largest gradient norm of a parameter tensor; None does not clip.
        **kwargs: See MMEngine's class.
    """

    def __init__(self, *args: Any, clip_each: float | None = 3.0, **kwargs: Any) -> None:
        if kwargs.pop('clip_grad', None) is not None:
            raise ValueError('use clip_each (the norm of each parameter\'s gradient) or another '
                             'optimizer wrapper with clip_grad (the global norm), not both')
        # A non-empty clip_grad makes AmpOptimWrapper unscale before it calls _clip_grad.
        super().__init__(*args, **kwargs, clip_grad=dict(max_norm=clip_each))
        self.clip_each = clip_each
        self.frozen: Sequence[Parameter] = ()

    def _clip_grad(self) -> None:
        for parameter in self.frozen:
            parameter.grad = None
        if self.clip_each is not None:
            clip_each_([p for group in self.optimizer.param_groups for p in group['params']],
                       self.clip_each)


@OPTIM_WRAPPERS.register_module()
class DINOOptimWrapper(_DINOGradients, OptimWrapper):
    """``mmengine.OptimWrapper`` with DINO's gradient rules."""


@OPTIM_WRAPPERS.register_module()
class DINOAmpOptimWrapper(_DINOGradients, AmpOptimWrapper):
    """``mmengine.AmpOptimWrapper`` with DINO's gradient rules."""

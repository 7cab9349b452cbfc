"""The momentum teacher of DINO, SOLIDER and CLASP."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from clasp_mm.compat import torch_at_least
from clasp_mm.compat.private_torch import foreach_copy_, foreach_lerp_

from .views import forward_prompts


class Teacher(nn.Module):
    """Moving average of a student's backbone and head: ``t <- m t + (1 - m) s``.

    Parameters follow by the moving average, buffers are copied. It never trains: no gradients, and
    always in evaluation mode, so without drop path and without gate noise.

    Args:
        backbone: The student's backbone; copied.
        head: The student's DINO head; copied.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = deepcopy(backbone)
        self.head = deepcopy(head)
        self._tensors: tuple | None = None  # the student, and what update moves and copies
        self.requires_grad_(False)
        self.eval()

    def _apply(self, *args: Any, **kwargs: Any) -> Teacher:
        """As torch's, which may put other tensors in the place of these."""
        self._tensors = None
        return super()._apply(*args, **kwargs)

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode whatever the student does."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor, task: str | float | None) -> Tensor:
        """DINO logits (B, K) of images (B, 3, H, W)."""
        return self.head(forward_prompts(self.backbone, images, task)[0][-1].mean((2, 3)))

    @torch.no_grad()
    def update(self, backbone: nn.Module, head: nn.Module, momentum: float,
               unless: Tensor | None = None) -> None:
        """Move towards the student; ``momentum=0`` copies it.

        Args:
            backbone: The student's.
            head: The student's.
            momentum: m.
            unless: float32 (,) on the device; where it is 1 no parameter moves, also if the student
                holds NaN. The host does not wait for it (before torch 2.4 it does).
        """
        student = backbone, head
        if self._tensors is None or self._tensors[0] != student:
            sides = (self.backbone, self.head), student
            self._tensors = student, *(
                [tensor for module in side for tensor in getattr(module, kind)()]
                for kind in ('parameters', 'buffers') for side in sides)
        _, mine, theirs, buffers, sources = self._tensors
        if unless is not None and torch_at_least(2, 4):
            # The average is a step of rate 1 - m on |t - s|^2 / 2, whose gradient is -s + 1 t.
            sgd(mine, theirs, [None] * len(mine), fused=True, found_inf=unless, maximize=True,
                weight_decay=1., lr=1 - momentum, momentum=0., dampening=0., nesterov=False)
        elif unless is None or not unless:
            foreach_lerp_(mine, theirs, 1 - momentum)
        if buffers:
            foreach_copy_(buffers, sources)

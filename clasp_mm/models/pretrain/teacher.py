"""The momentum teacher of DINO, SOLIDER and CLASP."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from .views import see


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
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> 'Teacher':
        """Stay in evaluation mode whatever the student does."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor, task: str | float | None) -> Tensor:
        """DINO logits (B, K) of images (B, 3, H, W)."""
        return self.head(see(self.backbone, images, task)[0][-1].mean((2, 3)))

    @torch.no_grad()
    def update(self, backbone: nn.Module, head: nn.Module, momentum: float) -> None:
        """Move towards the student; ``momentum=0`` copies it."""
        for mine, theirs in ((self.backbone, backbone), (self.head, head)):
            torch._foreach_lerp_(list(mine.parameters()), list(theirs.parameters()), 1 - momentum)
            for buffer, source in zip(mine.buffers(), theirs.buffers(), strict=True):
                buffer.copy_(source)

"""Part head: which body part is each token? (CLASP eq. 10)"""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from clasp_mm.registry import MODELS

from ..losses import GlobalLoss, average_together, share_of_mean, upcast

IGNORE = 255


@MODELS.register_module()
class PartSegHead(BaseModule):
    """A linear classifier of tokens into background and parts.

    Args:
        in_channels: C of the backbone map it reads.
        num_classes: Number of parts plus one for the background (label 0).
        in_index: Which of the backbone's outputs it reads.
        init_cfg: MMEngine initialisation config.

    Example:
        >>> PartSegHead(in_channels=8, num_classes=4)((torch.rand(2, 8, 6, 3), )).shape
        torch.Size([2, 4, 6, 3])
    """

    def __init__(self, in_channels: int, num_classes: int, in_index: int = -1,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.num_classes = num_classes
        self.in_index = in_index
        self.classifier = nn.Conv2d(in_channels, num_classes, 1)
        nn.init.trunc_normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Logits (B, num_classes, h, w) from the backbone's outputs."""
        return self.classifier(maps[self.in_index])

    def loss(self, maps: tuple[Tensor, ...], part_map: Tensor) -> dict[str, Tensor]:
        """:meth:`global_loss` with an all-reduce of its own."""
        return average_together(self.global_loss(maps, part_map))[0]

    def global_loss(self, maps: tuple[Tensor, ...],
                    part_map: Tensor) -> GlobalLoss[dict[str, Tensor]]:
        """Mean cross-entropy over all labelled tokens of the global batch.

        Args:
            maps: The backbone's outputs, each (B, C_i, h_i, w_i).
            part_map: Labels (B, H, W), any integer type; 255 is ignored (rejected images are 255
                everywhere). Sampled at the token centres.

        Returns:
            ``loss_part`` (0 with zero gradients where nothing is labelled; NaN where a label is
            neither a class nor 255, which no device has to wait for) and ``part_accuracy``.
        """
        logits = upcast(self(maps))
        target = F.interpolate(part_map[:, None].float(), logits.shape[-2:], mode='nearest-exact')
        # Of a map of logits torch has no cross-entropy on GPUs that always sums in one order.
        logits, target = logits.movedim(1, -1).flatten(0, -2), target.flatten().long()
        wrong = (target != IGNORE) & ((target < 0) | (target >= self.num_classes))
        target = target.masked_fill(wrong, IGNORE)
        labelled = target != IGNORE
        total = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction='sum')
        hits = ((logits.detach().argmax(1) == target) & labelled).sum()
        count, = yield (labelled.sum(),)
        loss = share_of_mean(total, count).masked_fill(wrong.any(), torch.nan)
        return dict(loss_part=loss, part_accuracy=share_of_mean(hits, count))

"""Attribute head: one logit for every candidate value of every attribute (CLASP eq. 11)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from clasp_mm.registry import MODELS

from ..layers.linear import init_linear
from ..losses import GlobalLoss, average_together, share_of_mean, upcast


@MODELS.register_module()
class AttrHead(BaseModule):
    """A linear classifier of the pooled feature, trained with binary cross-entropy.

    Args:
        in_channels: C of the pooled feature.
        attribute_sizes: Number of candidate values of each attribute.
        init_cfg: MMEngine initialisation config.

    Example:
        >>> AttrHead(in_channels=8, attribute_sizes=[2, 3])(torch.rand(4, 8)).shape
        torch.Size([4, 5])
    """

    def __init__(self, in_channels: int, attribute_sizes: Sequence[int],
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if not attribute_sizes or min(attribute_sizes) < 2:
            raise ValueError('attribute_sizes needs at least two candidate values for each '
                             f'attribute, got {list(attribute_sizes)}')
        self.attribute_sizes = tuple(attribute_sizes)
        total = sum(self.attribute_sizes)
        self.classifier = nn.Linear(in_channels, total)
        init_linear(self.classifier)
        sizes = torch.tensor(self.attribute_sizes)
        owner = torch.repeat_interleave(torch.arange(len(sizes)), sizes, output_size=total)
        value = torch.cat([torch.arange(size) for size in self.attribute_sizes])
        # Columns of the values of each attribute, (A, most); those it lacks are the one behind all.
        column = pad_sequence(torch.arange(total).split(self.attribute_sizes), batch_first=True,
                              padding_value=total)
        for name, buffer in dict(sizes=sizes, owner=owner, value=value, column=column).items():
            self.register_buffer(name, buffer, persistent=False)

    def forward(self, pooled: Tensor) -> Tensor:
        """Logits (B, sum of attribute_sizes) from pooled features (B, C)."""
        return self.classifier(pooled)

    def loss(self, pooled: Tensor, attr_target: Tensor) -> dict[str, Tensor]:
        """:meth:`global_loss` with an all-reduce of its own."""
        return average_together(self.global_loss(pooled, attr_target))[0]

    def global_loss(self, pooled: Tensor,
                    attr_target: Tensor) -> GlobalLoss[dict[str, Tensor]]:
        """Mean binary cross-entropy over the candidate values of all kept attributes.

        Args:
            pooled: Features (B, C).
            attr_target: Index of the winning value of each attribute, (B, A); -1 where not kept.

        Returns:
            ``loss_attr`` (0 with zero gradients where no attribute is kept; NaN where a target is
            neither -1 nor a value, which no device has to wait for) and ``attr_accuracy``.
        """
        if attr_target.shape[1] != len(self.attribute_sizes):
            raise ValueError(f'attr_target has {attr_target.shape[1]} attributes, AttrHead was '
                             f'built for {len(self.attribute_sizes)}')
        logits = upcast(self(pooled))
        kept = attr_target >= 0
        mask = kept[:, self.owner].to(logits.dtype)
        one_hot = (attr_target[:, self.owner] == self.value).to(logits.dtype)
        loss = F.binary_cross_entropy_with_logits(logits, one_hot, reduction='none')
        groups = F.pad(logits.detach(), (0, 1), value=-torch.inf)
        groups = groups.index_select(1, self.column.flatten())
        best = groups.unflatten(1, self.column.shape).argmax(2)
        hits = (kept & (best == attr_target)).sum()
        num_values, num_kept = yield mask.sum(), kept.sum()
        wrong = (attr_target < -1) | (attr_target >= self.sizes)
        loss = share_of_mean((loss * mask).sum(), num_values)
        return dict(loss_attr=loss.masked_fill(wrong.any(), torch.nan),
                    attr_accuracy=share_of_mean(hits, num_kept))

"""Head of pedestrian attribute recognition: a linear layer on the pooled feature."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from clasp_mm.registry import MODELS

from ..losses import upcast


def attribute_loss(logits: Tensor, labels: Tensor, positive_ratios: Tensor) -> Tensor:
    """Binary cross-entropy of each image, weighted by how rare its labels are.

    Entry y of an attribute that a share r of the training set has weighs
    exp(y (1 - r) + (1 - y) r) (RethinkPAR, arXiv 2107.03576, eq. 5); attributes are summed.

    Args:
        logits: (B, A).
        labels: (B, A) of 1, 0 and -1; what is -1 is unknown and weighs nothing.
        positive_ratios: r, (A,).

    Returns:
        (B,).

    Example:
        >>> labels, ratios = torch.tensor([[1, -1]]), torch.tensor([1., .5])
        >>> attribute_loss(torch.zeros(1, 2), labels, ratios)  # log 2
        tensor([0.6931])
    """
    positive = (labels > 0).to(logits.dtype)
    weight = torch.exp(positive * (1 - positive_ratios) + (1 - positive) * positive_ratios)
    loss = F.binary_cross_entropy_with_logits(logits, positive, reduction='none')
    return (loss * weight * (labels >= 0)).sum(dim=1)


@MODELS.register_module()
class AttributeHead(BaseModule):
    """Linear classifier of attributes for mmpretrain's ``ImageClassifier``.

    (:class:`~clasp_mm.models.heads.AttrHead` is the one of pretraining, which learns choices.)
    ``clasp_mm.AttributeHook`` fills ``positive_ratios`` from the training set; checkpoints keep it.

    Args:
        num_attributes: A.
        in_channels: Channels of the pooled feature.
        init_cfg: MMEngine's.

    Example:
        >>> AttributeHead(num_attributes=3, in_channels=8)((torch.rand(2, 8), )).shape
        torch.Size([2, 3])
    """

    def __init__(self, num_attributes: int, in_channels: int,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.num_attributes = num_attributes
        self.fc = nn.Linear(in_channels, num_attributes)
        self.register_buffer('positive_ratios', torch.full((num_attributes, ), torch.nan))

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Logits (B, A) from pooled features, (B, C) each; the last is used."""
        return self.fc(feats[-1])

    def loss(self, feats: Sequence[Tensor], data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Mean of :func:`attribute_loss` over the batch.

        Raises:
            ValueError: Nothing set ``positive_ratios``, or ``gt_score`` has not A entries.
        """
        if self.positive_ratios.isnan().any():
            raise ValueError('the head does not know the positive ratios of the training set: add '
                             "dict(type='clasp_mm.AttributeHook') to custom_hooks")
        labels = self._labels(data_samples)
        return dict(loss=attribute_loss(upcast(self(feats)), labels, self.positive_ratios).mean())

    def predict(self, feats: Sequence[Tensor], data_samples: list[DataSample] | None = None
                ) -> list[DataSample]:
        """Give each sample ``pred_score``, the probabilities (A,), and where labels are ``loss``.

        ``loss``, a scalar, is left out as long as nothing has set ``positive_ratios``.

        Raises:
            ValueError: ``gt_score`` has not A entries.
        """
        logits = upcast(self(feats))
        samples = data_samples or [DataSample() for _ in logits]
        if all('gt_score' in sample for sample in samples):
            losses = attribute_loss(logits, self._labels(samples), self.positive_ratios)
            if not self.positive_ratios.isnan().any():
                for sample, loss in zip(samples, losses, strict=True):
                    sample.set_field(loss, 'loss')
        for sample, scores in zip(samples, logits.sigmoid(), strict=True):
            sample.set_pred_score(scores)
        return samples

    def _labels(self, samples: list[DataSample]) -> Tensor:
        labels = torch.stack([sample.gt_score for sample in samples])
        if labels.shape[1] != self.num_attributes:
            raise ValueError(
                f'the data have {labels.shape[1]} attributes, the head {self.num_attributes}: set '
                f'model.head.num_attributes={labels.shape[1]}, or take the data of the config')
        return labels

"""Norm-aware embedding: one vector says whether somebody is there, and who."""

from typing import Any

import torch
import torch.nn.functional as F
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from torch import Tensor, nn

from clasp_mm.registry import MODELS

from ..losses import upcast


@MODELS.register_module()
class NAEHead(BBoxHead):
    """Embedding, its norm as the score of a person, and box (Chen et al., CVPR 2020; SeqNet).

    The pooled regions before and after the last stage are each projected to half of the channels.
    The direction of the joint vector is the identity; batch norm of its length is the logit. Box
    deltas are batch-normed too.

    Args:
        in_channels: Channels before and after the last stage.
        channels: Length of the embedding.
        **kwargs: Arguments of mmdet's BBoxHead; ``loss_cls`` is a sigmoid loss of one class.
    """

    def __init__(self, in_channels: tuple[int, int], channels: int = 256, **kwargs: Any) -> None:
        super().__init__(with_avg_pool=True, with_cls=False, in_channels=in_channels[1],
                         num_classes=1, **kwargs)
        self.channels = channels
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Linear(one, channels // 2), nn.BatchNorm1d(channels // 2))
            for one in in_channels)
        self.rescale = nn.BatchNorm1d(1)
        self.fc_reg = nn.Sequential(self.fc_reg, nn.BatchNorm1d(self.fc_reg.out_features))

    def init_weights(self) -> None:
        super().init_weights()
        for linear, norm in (*self.projections, self.fc_reg):
            for layer in (linear, norm):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)

    def forward(self, regions: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Regions before (N, C, H, W) and after (N, 2C, H / 2, W / 2) the last stage.

        Returns:
            Logits of a person (N, 1), box deltas (N, 4) and unit vectors (N, channels).
        """
        pooled = [one.mean(dim=(2, 3)) for one in (regions, features)]
        vectors = upcast(torch.cat([
            project(one) for project, one in zip(self.projections, pooled, strict=True)], dim=1))
        logits = self.rescale(vectors.norm(dim=1, keepdim=True))
        return logits, self.fc_reg(pooled[1]), F.normalize(vectors, dim=1)

"""Augmented CE2P: parsing with context, details and edges."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.decode_heads.psp_head import PPM
from mmseg.models.losses import accuracy
from mmseg.models.utils import resize
from torch import Tensor, nn

from clasp_mm.registry import MODELS

from ..losses import upcast
from ..losses.parsing import IGNORE, balanced_edge_loss, label_edges, parsing_loss
from .pooling import pooled_maps
from .resized_conv import resized_conv


class CE2POutput(NamedTuple):
    """Logits at the size of the first stage.

    Attributes:
        parsing: (B, num_classes, h, w), before the edges are known.
        edge: (B, 2, h, w), of no edge and of an edge.
        refined: (B, num_classes, h, w), from parsing and edge features.
    """

    parsing: Tensor
    edge: Tensor
    refined: Tensor


@MODELS.register_module()
class CE2PHead(BaseDecodeHead):
    """The head of SCHP (Li et al. 2020; CE2P is Ruan et al. 2019).

    Pyramid pooling of the last stage gives context, a decoder joins it with the first stage, a
    branch on the first three stages finds edges, and what both saw is fused into the refined
    parsing, the prediction. Loss of both parsings: cross-entropy and Lovasz-softmax; of the edges:
    balanced cross-entropy. Where a sample has soft labels (``soft_sem_seg``, ``soft_edge``), the
    cross-entropies are the divergences from these. SCHP's consistency of parsing and edges is left
    out: in the published code it is a constant. Layers start as PyTorch's defaults, as published.

    Args:
        in_channels: Channels of the four stages.
        channels: Channels of the decoder and of the fusion.
        context_channels: Channels of pyramid pooling.
        detail_channels: Channels kept of the first stage in the decoder.
        edge_channels: Channels of the edge branch on each stage.
        pool_scales: Grids of pyramid pooling.
        loss_decode: The region loss of both parsings.
        ce_weight: Weight of their cross-entropy.
        edge_weight: Weight of the edge loss.
        **kwargs: Arguments of mmsegmentation's ``BaseDecodeHead``, but ``init_cfg``.

    Raises:
        ValueError: ``ignore_index`` is not 255.
    """

    def __init__(self,
                 in_channels: Sequence[int],
                 channels: int = 256,
                 context_channels: int = 512,
                 detail_channels: int = 48,
                 edge_channels: int = 192,
                 pool_scales: Sequence[int] = (1, 2, 3, 6),
                 loss_decode: dict | None = None,
                 ce_weight: float = 0.5,
                 edge_weight: float = 1.0,
                 **kwargs: Any) -> None:
        loss_decode = loss_decode or dict(
            type='mmseg.LovaszLoss', reduction='none', loss_weight=0.5)
        super().__init__(in_channels=list(in_channels), channels=channels,
                         in_index=list(range(len(in_channels))),
                         input_transform='multiple_select', loss_decode=loss_decode, init_cfg=None,
                         **kwargs)
        if self.ignore_index != IGNORE:
            raise ValueError(f'ignore_index={self.ignore_index}: edges and losses of CE2PHead '
                             f'ignore label {IGNORE}; save the labels so')
        self.ce_weight = ce_weight
        self.edge_weight = edge_weight

        def conv(inputs: int, outputs: int, size: int = 1) -> ConvModule:
            return ConvModule(inputs, outputs, size, padding=size // 2, conv_cfg=self.conv_cfg,
                              norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)

        last, stages = in_channels[-1], in_channels[:-1]
        self.pooling = PPM(pool_scales, last, context_channels, self.conv_cfg, self.norm_cfg,
                           self.act_cfg, self.align_corners)
        self.context = conv(last + len(pool_scales) * context_channels, context_channels, 3)
        self.reduce = conv(context_channels, channels)
        self.detail = conv(in_channels[0], detail_channels)
        self.decoder = nn.Sequential(conv(channels + detail_channels, channels),
                                     conv(channels, channels))
        self.parsing_seg = nn.Conv2d(channels, self.num_classes, 1)
        self.edge_features = nn.ModuleList([conv(width, edge_channels) for width in stages])
        self.edge_score = nn.Conv2d(edge_channels, 2, 3, padding=1)
        self.edge_seg = nn.Conv2d(2 * len(stages), 2, 1)
        self.fusion = conv(channels + len(stages) * edge_channels, channels)

    def init_weights(self) -> None:
        """PyTorch's defaults: mmcv's would be up to six times as large, and SGD slower by that."""
        for module in self.modules():
            if hasattr(module, 'reset_parameters'):
                module.reset_parameters()

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Refined logits (B, num_classes, h, w)."""
        return self.forward_all(inputs).refined

    def forward_all(self, inputs: Sequence[Tensor]) -> CE2POutput:
        """All three outputs, from the backbone's maps (B, C_i, h_i, w_i)."""
        *stages, last = self._transform_inputs(inputs)
        size = stages[0].shape[-2:]
        pooled = pooled_maps(self.pooling, last)
        context = self.reduce(self._joined(self.context, [last, *pooled], last.shape[-2:]))
        join, mix = self.decoder
        parsing = mix(self._joined(join, [context, self.detail(stages[0])], size))
        edges = [features(x) for features, x in zip(self.edge_features, stages, strict=True)]
        scores = [self._upsample(self.edge_score(x), size) for x in edges]
        refined = self.cls_seg(self._joined(self.fusion, [parsing, *edges], size))
        return CE2POutput(self.parsing_seg(parsing), self.edge_seg(torch.cat(scores, 1)), refined)

    def loss(self, inputs: Sequence[Tensor], batch_data_samples: list,
             train_cfg: dict | None) -> dict[str, Tensor]:
        """Losses of a batch; see :meth:`loss_by_feat`."""
        return self.loss_by_feat(self.forward_all(inputs), batch_data_samples)

    def loss_by_feat(self, seg_logits: CE2POutput, batch_data_samples: list) -> dict[str, Tensor]:
        """Losses at the size of the labels.

        Args:
            seg_logits: What the branches gave.
            batch_data_samples: mmsegmentation's samples, with ``gt_sem_seg`` (1, H, W).
        """
        label = self._stack_batch_gt(batch_data_samples).squeeze(1)
        target = edge_target = None
        if 'soft_sem_seg' in batch_data_samples[0]:
            target, edge_target = (
                torch.stack([sample.get(key).data for sample in batch_data_samples])
                for key in ('soft_sem_seg', 'soft_edge'))
        parsing, edge, refined = (
            upcast(self._upsample(x, label.shape[-2:])) for x in seg_logits)
        edges = label_edges(label)
        edge_loss = balanced_edge_loss(edge, edges) if target is None else parsing_loss(
            edge, edges, edge_target)
        losses = dict(loss_edge=self.edge_weight * edge_loss)
        labelled = int((label != IGNORE).sum())
        for name, logits in (('parsing', parsing), ('refined', refined)):
            losses[f'loss_{name}_ce'] = self.ce_weight * parsing_loss(logits, label, target)
            # mmsegmentation's Lovasz loss fails on one labelled pixel and is NaN without any
            losses[f'loss_{name}_lovasz'] = logits.sum() * 0 if labelled < 2 else self.loss_decode(
                logits, label, ignore_index=IGNORE)
        losses['acc_seg'] = accuracy(refined, label, ignore_index=IGNORE)
        return losses

    def _joined(self, block: ConvModule, maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        return resized_conv(block, maps, size, self.align_corners)

    def _upsample(self, x: Tensor, size: Sequence[int]) -> Tensor:
        return resize(x, size=size, mode='bilinear', align_corners=self.align_corners,
                      warning=False)

"""The head of CSP: centre, size and offset of each pedestrian, and how they are learnt."""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.utils import filter_scores_and_topk
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image

from clasp_mm.registry import MODELS

from .csp_targets import csp_targets


@MODELS.register_module()
class CSPHead(BaseDenseHead):
    """Center and Scale Prediction (Liu et al., CVPR 2019) for mmdet's SingleStageDetector.

    A branch is a 3x3 convolution with group norm and one more for the output. Heights and widths
    are logs of cells; their loss compares the ratio of prediction and target with 1.

    Args:
        in_channels: Channels of the one input map.
        loss_center: Focal loss of the centres, on probabilities (mmdet.GaussianFocalLoss).
        loss_scale: Loss of heights and widths (mmdet.SmoothL1Loss).
        loss_offset: Loss of the offsets (mmdet.SmoothL1Loss).
        feat_channels: Channels between the two convolutions, in groups of 8 for the norm.
        stride: Stride of the input map in pixels.
        predict_width: Predict widths too; otherwise a width is ``aspect_ratio`` times the height.
        aspect_ratio: Width over height of a pedestrian, used only without ``predict_width``.
        train_cfg: ``radius`` (cells around a centre that learn its size) and ``min_width``
            (narrower pedestrians, in pixels, are ignored; above ``stride``).
        test_cfg: ``score_thr``, ``nms_pre``, ``nms`` (of mmcv) and ``max_per_img``.
        init_cfg: MMEngine's; by default normal with 0.01, and centres with prior 0.01.

    Raises:
        ValueError: If ``min_width`` is not above ``stride``.
    """

    def __init__(self, in_channels: int, loss_center: dict, loss_scale: dict, loss_offset: dict,
                 feat_channels: int = 256, stride: int = 4, predict_width: bool = True,
                 aspect_ratio: float = 0.41, train_cfg: dict | None = None,
                 test_cfg: dict | None = None, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg or dict(
            type='Normal', layer='Conv2d', std=0.01,
            override=dict(type='Normal', name='center_out', std=0.01, bias_prob=0.01)))
        if train_cfg is not None and train_cfg['min_width'] <= stride:
            raise ValueError(
                f'train_cfg.min_width={train_cfg["min_width"]} must be above the stride {stride}: '
                'the loss divides by the log of the size in cells')
        self.stride, self.aspect_ratio = stride, aspect_ratio
        self.train_cfg, self.test_cfg = train_cfg, test_cfg
        for name, channels in (('center', 1), ('scale', 1 + predict_width), ('offset', 2)):
            self.add_module(f'{name}_conv', ConvModule(
                in_channels, feat_channels, 3, padding=1,
                norm_cfg=dict(type='GN', num_groups=feat_channels // 8)))
            self.add_module(f'{name}_out', nn.Conv2d(feat_channels, channels, 3, padding=1))
        self.loss_center = MODELS.build(loss_center)
        self.loss_scale = MODELS.build(loss_scale)
        self.loss_offset = MODELS.build(loss_offset)

    def forward(self, x: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """One map (B, C, H, W) to centre logits (B, 1, H, W), log sizes (B, 1 or 2, H, W: height,
        width) and offsets (B, 2, H, W: y, x), both in cells.
        """
        return (self.center_out(self.center_conv(x[0])), self.scale_out(self.scale_conv(x[0])),
                self.offset_out(self.offset_conv(x[0])))

    def loss_by_feat(self, center: Tensor, scale: Tensor, offset: Tensor,
                     batch_gt_instances: Sequence[InstanceData], batch_img_metas: Sequence[dict],
                     batch_gt_instances_ignore: Sequence[InstanceData]) -> dict[str, Tensor]:
        """The three losses of what :meth:`forward` gave; boxes in pixels of the batch's images.

        Losses of centres and offsets (y and x added) are sums over cells divided by the number of
        centres; that of sizes is the mean over the heights and widths of all cells that have them.
        """
        target = csp_targets(
            [one.bboxes for one in batch_gt_instances],
            [one.bboxes for one in batch_gt_instances_ignore],
            center.shape[-2:], self.stride, **self.train_cfg)
        scales = target.scales[:, :scale.shape[1]]
        scale_weight = target.scale_weight.expand_as(scale)
        num_centers = target.offset_weight.sum().clamp(min=1)
        # 1 where there is no target: the weight is 0 there, and 0 / 0 would still be NaN.
        ratio = scale.float() / torch.where(scale_weight > 0, scales, 1.)
        return dict(
            loss_center=self.loss_center(
                center.float().sigmoid(), target.centers, weight=target.center_weight,
                avg_factor=num_centers),
            loss_scale=self.loss_scale(
                ratio, torch.ones_like(ratio), weight=scale_weight,
                avg_factor=scale_weight.sum().clamp(min=1)),
            loss_offset=self.loss_offset(
                offset.float(), target.offsets, weight=target.offset_weight.expand_as(offset),
                avg_factor=num_centers))

    def predict_by_feat(self, center: Tensor, scale: Tensor, offset: Tensor,
                        batch_img_metas: Sequence[dict], rescale: bool = False
                        ) -> list[InstanceData]:
        """Boxes of each image, clipped to it, after top-k and NMS.

        Args:
            center: As :meth:`forward` gives, as the next two.
            scale: Log sizes.
            offset: Offsets.
            batch_img_metas: ``img_shape`` and, to rescale, ``scale_factor`` of each image.
            rescale: Give boxes in pixels of the original image.

        Returns:
            ``bboxes`` (N, 4) as x1, y1, x2, y2, ``scores`` (N, ) and ``labels`` (N, ), all 0.
        """
        maps = zip(center.detach().float().sigmoid(), scale.detach().float(),
                   offset.detach().float(), batch_img_metas, strict=True)
        return [self._predict_image(*one, rescale=rescale) for one in maps]

    def _predict_image(self, center: Tensor, scale: Tensor, offset: Tensor, img_meta: dict,
                       rescale: bool) -> InstanceData:
        scores, labels, cell, kept = filter_scores_and_topk(
            center.flatten(1).T, self.test_cfg['score_thr'], self.test_cfg['nms_pre'],
            dict(size=scale.flatten(1).T, offset=offset.flatten(1).T))
        height = kept['size'][:, 0].exp()
        width = kept['size'][:, 1].exp() if len(scale) > 1 else height * self.aspect_ratio
        y = cell // center.shape[-1] + 0.5 + kept['offset'][:, 0]
        x = cell % center.shape[-1] + 0.5 + kept['offset'][:, 1]
        boxes = torch.stack(
            [x - width / 2, y - height / 2, x + width / 2, y + height / 2], 1) * self.stride
        boxes = clip_boxes_to_image(boxes, img_meta['img_shape'][:2])
        return self._bbox_post_process(
            InstanceData(bboxes=boxes, scores=scores, labels=labels), self.test_cfg,
            rescale=rescale, img_meta=img_meta)

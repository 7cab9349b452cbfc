"""SeqNet's two heads: boxes first, then identities on the refined boxes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmcv.ops import nms
from mmdet.models.roi_heads import CascadeRoIHead
from mmdet.structures.bbox import bbox2roi, scale_boxes
from mmengine.structures import InstanceData
from torch import Tensor, nn

from clasp_mm.registry import MODELS

from ..backbones.pcmoe_swin import PCMoESwin
from ..layers.tasks import task_weights
from ..losses import upcast
from .swin_stage import LastStage

_SMALLEST = 0.01  # side of a box that is put out, in pixels of the input


@MODELS.register_module()
class SeqRoIHead(CascadeRoIHead):
    """Faster R-CNN's head, then norm-aware embeddings of its boxes (Li and Miao, AAAI 2021).

    Labels of ``gt_instances`` are identities, as the data sets of person search give them. Each
    head reads the backbone's last stage under its own prompt, from a copy of its own or from one
    of both. The second learns from the true boxes, and from all boxes of the first, those that it
    made of true boxes among them.

    At test, the first head's confidence is the score of a detection to the end (first
    classification score). The unit vector of a detection is its ``features``.

    Args:
        bbox_head: Two heads: mmdet's BBoxHead and ``clasp_mm.NAEHead``.
        loss_oim: ``clasp_mm.OIMLoss``.
        tasks: Prompts of the box and of the identity branch.
        share_stage: One copy of the last stage for both heads, which its prompt tells apart.
        cws: Confidence weighted similarity: multiply ``features`` of detections (not of queries)
            by their score.
        test_cfg: ``first`` (``score_thr``, ``nms``, ``max_per_img`` of the first head, as mmdet's
            ``rcnn``) and ``score_thr``, ``nms_iou``, ``max_per_img`` of the result.
        **kwargs: Arguments of mmdet's CascadeRoIHead; ``train_cfg`` is an ``rcnn`` for each head.
    """

    def __init__(self, bbox_head: Sequence[dict], loss_oim: dict,
                 tasks: Sequence[str] = ('part', 'appearance'), share_stage: bool = False,
                 cws: bool = True, **kwargs: Any) -> None:
        super().__init__(num_stages=2, stage_loss_weights=(1, 1), bbox_head=bbox_head, **kwargs)
        self.loss_oim = MODELS.build(loss_oim)
        self.tasks, self.share_stage, self.cws = tuple(tasks), share_stage, cws

    def copy_stage(self, backbone: PCMoESwin) -> None:
        """Give the heads their copies of the last stage, or their one copy."""
        copies = 1 if self.share_stage else len(self.tasks)
        self.stages = nn.ModuleList(LastStage(backbone) for _ in range(copies))
        moe = self.stages[0].moe
        prompts = None if moe is None else torch.stack([
            task_weights(task, moe.num_prompts) for task in self.tasks])
        self.register_buffer('prompts', prompts, persistent=False)  # (2, 1, M)

    def _bbox_forward(self, stage: int, x: Sequence[Tensor], rois: Tensor) -> dict[str, Tensor]:
        regions = self.bbox_roi_extractor[stage](x, rois)
        features = self.stages[0 if self.share_stage else stage](
            regions, None if self.prompts is None else self.prompts[stage])
        if stage == 0:
            cls_score, bbox_pred = self.bbox_head[0](features)
            return dict(cls_score=upcast(cls_score), bbox_pred=upcast(bbox_pred))
        cls_score, bbox_pred, embeddings = self.bbox_head[1](regions, features)
        return dict(cls_score=cls_score, bbox_pred=upcast(bbox_pred), embeddings=embeddings)

    def bbox_loss(self, stage: int, x: Sequence[Tensor], sampling_results: Sequence) -> dict:
        """As the host's, with ``loss_oim`` of the second head; sampled boxes are marked as found.

        The host would not pass on what the first head makes of a true box.
        """
        pids = torch.cat([one.pos_gt_labels for one in sampling_results])
        for one in sampling_results:
            one.pos_gt_labels = torch.zeros_like(one.pos_gt_labels)
            one.pos_is_gt = torch.zeros_like(one.pos_is_gt)
        results = super().bbox_loss(stage, x, sampling_results)
        if stage == 1:
            person = results['bbox_targets'][0] == 0
            results['loss_bbox']['loss_oim'] = self.loss_oim(results['embeddings'][person], pids)
            results['loss_bbox'].pop('acc', None)  # of a softmax, which this head has not
        return results

    def predict_bbox(self, x: Sequence[Tensor], batch_img_metas: Sequence[Mapping],
                     rpn_results_list: Sequence[InstanceData], rcnn_test_cfg: Mapping,
                     rescale: bool = False) -> list[InstanceData]:
        """Detections of each image: ``bboxes``, ``scores``, ``labels`` (0) and ``features``."""
        proposals = [one.bboxes for one in rpn_results_list]
        first = self._first(x, proposals, batch_img_metas, rcnn_test_cfg['first'])
        found = self._second(x, [one.bboxes for one in first])
        return [self._finish(boxes, deltas, vectors, one.scores, meta, rcnn_test_cfg, rescale)
                for (boxes, deltas, vectors), one, meta in zip(
                    found, first, batch_img_metas, strict=True)]

    def embed(self, x: Sequence[Tensor], boxes: Sequence[Tensor]) -> list[Tensor]:
        """Unit vectors (N_i, C) of given boxes (N_i, 4) in each image, in pixels of the input."""
        return [vectors for _, _, vectors in self._second(x, boxes)]

    def _first(self, x: Sequence[Tensor], proposals: Sequence[Tensor],
               batch_img_metas: Sequence[Mapping], cfg: Mapping) -> list[InstanceData]:
        rois, counts = bbox2roi(proposals), [len(one) for one in proposals]
        if not len(rois):
            return [InstanceData(bboxes=one, scores=one.new_zeros(0)) for one in proposals]
        out = self._bbox_forward(0, x, rois)
        return self.bbox_head[0].predict_by_feat(
            rois.split(counts), out['cls_score'].split(counts), out['bbox_pred'].split(counts),
            batch_img_metas, rcnn_test_cfg=cfg)

    def _second(self, x: Sequence[Tensor], boxes: Sequence[Tensor]
                ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Boxes, deltas and unit vectors of each image."""
        rois, counts = bbox2roi(boxes), [len(one) for one in boxes]
        if len(rois):
            out = self._bbox_forward(1, x, rois)
            deltas, vectors = out['bbox_pred'], out['embeddings']
        else:
            deltas, vectors = rois[:, 1:], rois.new_zeros(0, self.bbox_head[1].channels)
        return list(zip(boxes, deltas.split(counts), vectors.split(counts), strict=True))

    def _finish(self, boxes: Tensor, deltas: Tensor, vectors: Tensor, scores: Tensor,
                meta: Mapping, cfg: Mapping, rescale: bool) -> InstanceData:
        boxes = self.bbox_head[1].bbox_coder.decode(boxes, deltas, max_shape=meta['img_shape'])
        sound = (boxes[:, 2:] - boxes[:, :2] >= _SMALLEST).all(dim=1) & (scores >= cfg['score_thr'])
        if rescale:
            boxes = scale_boxes(boxes, [1 / one for one in meta['scale_factor']])
        if self.cws:
            vectors = vectors * scores[:, None]
        found = InstanceData(bboxes=boxes, scores=scores, features=vectors,
                             labels=torch.zeros_like(scores, dtype=torch.long))
        found = found[sound]
        if len(found):
            found = found[nms(found.bboxes, found.scores, cfg['nms_iou'])[1]]
        return found[:cfg['max_per_img']]

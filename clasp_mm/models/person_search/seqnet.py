"""SeqNet: a detector whose second head tells who somebody is."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmdet.models.dense_heads import RPNHead
from mmdet.models.detectors import TwoStageDetector
from mmdet.structures import DetDataSample
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image

from clasp_mm.registry import MODELS

from ..losses import upcast


@MODELS.register_module()
class UpcastRPNHead(RPNHead):
    """mmdet's RPNHead with outputs in float32, which mmcv's NMS needs on a CPU."""

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and deltas (B, A, H, W) and (B, 4A, H, W) of one map (B, C, H, W)."""
        scores, deltas = super().forward_single(x)
        return upcast(scores), upcast(deltas)


@MODELS.register_module()
class SeqNet(TwoStageDetector):
    """Person search in two stages on a PC-MoE Swin (Li and Miao, AAAI 2021; SOLIDER's form).

    Proposals and regions are taken from the normed map of the last stage but one. The last stage
    is the head of the regions: one copy for the boxes, one for the identities, none for the whole
    image. All start from the same weights.

    A frame's ``queries`` (in its meta information; see ``clasp_mm.CUHKSYSU``) are embedded by their
    true boxes and given as ``query_features``, (N, C).

    Args:
        backbone: ``clasp_mm.PCMoESwin`` without ``out_indices``; its ``task`` is that of the
            shared stages.
        **kwargs: Arguments of mmdet's TwoStageDetector; ``roi_head`` is ``clasp_mm.SeqRoIHead``.

    Raises:
        ValueError: ``backbone`` has ``out_indices`` or ``channels_last``.
    """

    def __init__(self, backbone: Mapping, **kwargs: Any) -> None:
        if 'out_indices' in backbone:
            raise ValueError(f'out_indices={backbone["out_indices"]}: leave it out, SeqNet '
                             'reads the last but one stage and gives its heads the last')
        if backbone.get('channels_last'):
            raise ValueError('channels_last=True: leave it out, RoIAlign reads contiguous maps')
        whole = dict(backbone, out_indices=(2, 3))
        super().__init__(backbone=whole, **kwargs)
        self._whole = whole
        self.roi_head.copy_stage(self.backbone)
        self._cut_backbone()

    def _cut_backbone(self) -> None:
        backbone = self.backbone
        backbone.stages = backbone.stages[:-1]
        backbone.stages[-1].downsample = nn.Identity()
        setattr(backbone, f'norm{backbone.num_stages - 1}', nn.Identity())
        backbone.out_indices = (backbone.num_stages - 2, )
        backbone.init_cfg = None  # init_weights reads the whole
        backbone.train()

    def init_weights(self) -> None:
        """Initialise; the whole backbone's weights go to the shared stages and to both heads.

        Raises:
            CheckpointError: If the weights do not cover the backbone.
        """
        loaded = self.is_init
        super().init_weights()
        if loaded:
            return
        whole = MODELS.build(self._whole)
        whole.init_weights()
        weights = whole.state_dict()
        self.backbone.load_state_dict({name: weights[name] for name in self.backbone.state_dict()})
        for stage in self.roi_head.stages:
            stage.take(whole)

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor]:
        """Images (B, 3, H, W) to the shared map, in float32 under AMP, as RoIAlign needs it."""
        return tuple(upcast(one) for one in super().extract_feat(batch_inputs))

    def predict(self, batch_inputs: Tensor, batch_data_samples: Sequence[DetDataSample],
                rescale: bool = True) -> Sequence[DetDataSample]:
        """Add ``pred_instances`` with ``features``, and ``query_features``, to the samples.

        Raises:
            ValueError: A query's box lies outside its image.
        """
        x = self.extract_feat(batch_inputs)
        proposals = self.rpn_head.predict(x, batch_data_samples, rescale=False)
        found = self.roi_head.predict(x, proposals, batch_data_samples, rescale=rescale)
        boxes = [_query_boxes(one.metainfo, batch_inputs) for one in batch_data_samples]
        for sample, vectors in zip(batch_data_samples, self.roi_head.embed(x, boxes), strict=True):
            sample.query_features = vectors
        return self.add_pred_to_datasample(batch_data_samples, found)


def _query_boxes(meta: Mapping, like: Tensor) -> Tensor:
    """The boxes (N, 4) of a frame's queries, in pixels of the input."""
    scale = like.new_tensor(meta.get('scale_factor', (1, 1))).repeat(2)
    boxes = like.new_tensor([one['bbox'] for one in meta.get('queries', ())]).reshape(-1, 4)
    inside = clip_boxes_to_image(boxes * scale, meta['img_shape'][:2])
    empty = (inside[:, 2:] <= inside[:, :2]).any(dim=1)
    if empty.any():
        raise ValueError(f'{meta.get("img_path")}: the box {boxes[empty][0].tolist()} of a query '
                         f'lies outside the image of {meta["ori_shape"][1]} x '
                         f'{meta["ori_shape"][0]} pixels')
    return inside

"""Top-down pose of people in given boxes, by mmpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from clasp_mm.compat import quiet_mmcv_lite
from clasp_mm.models.weights.coverage import load_weights
from clasp_mm.utils.device import pick_device
from clasp_mm.zoo.config import open_config

from .batches import predict_batches, prepare
from .boxes import check_boxes, whole

BATCH = 32  # people in one forward


def load(config: str | Path | Config, checkpoint: str | Path,
         device: str | torch.device | None = None) -> nn.Module:
    """Build a fine-tuned pose estimator, ready for :func:`predict`.

    Args:
        config: Its config, or that read, of mmpose's top-down kind.
        checkpoint: A checkpoint of its training.
        device: Where it runs; by default on the GPU where there is one.

    Raises:
        FileNotFoundError: There is no such config or checkpoint.
        ValueError: The weights do not fit the config's model.
    """
    quiet_mmcv_lite()
    from mmengine.dataset import Compose
    from mmengine.registry import DefaultScope
    from mmpose.apis import init_model
    model = init_model(open_config(config), device=pick_device(device))
    meta = load_weights(model, checkpoint)
    model.dataset_meta = meta.get('dataset_meta') or model.dataset_meta
    with DefaultScope.overwrite_default_scope('mmpose'):
        model.pipeline = Compose(model.cfg.test_dataloader.dataset.pipeline)
    return model


def predict(model: nn.Module, images: Sequence[np.ndarray],
            boxes: Sequence[np.ndarray | None] | None = None, batch_size: int = BATCH
            ) -> list[dict[str, np.ndarray]]:
    """Find the keypoints of the people in each image.

    Args:
        model: From :func:`load`.
        images: Each (H, W, 3) uint8, BGR.
        boxes: For each image (N, 4), x1, y1, x2, y2 in pixels; None, of one or of all, takes the
            whole image as the box of one person.
        batch_size: People in one forward, of as many images.

    Returns:
        For each image ``boxes`` (N, 4), ``keypoints`` (N, K, 2), x and y in pixels of the image,
        and ``keypoint_scores`` (N, K), the height of the heatmap.

    Raises:
        ValueError: A box is empty, not finite or outside its image.
    """
    given = [None] * len(images) if boxes is None else boxes
    boxes = [whole(image) if own is None else check_boxes(own, image)
             for image, own in zip(images, given, strict=True)]
    # As mmpose.apis.inference_topdown, which makes its pipeline and its batches for each image.
    samples = (prepare(model, image, **model.dataset_meta, bbox=box[None],
                       bbox_score=np.ones(1, np.float32))
               for image, given in zip(images, boxes, strict=True) for box in given)
    people = predict_batches(model, samples, batch_size)
    num_keypoints, results = model.dataset_meta['num_keypoints'], []
    for given in boxes:
        found = [next(people).pred_instances for _ in given]
        results.append(dict(
            boxes=given,
            keypoints=np.concatenate([np.zeros((0, num_keypoints, 2), np.float32),
                                      *(person.keypoints for person in found)]),
            keypoint_scores=np.concatenate([np.zeros((0, num_keypoints), np.float32),
                                            *(person.keypoint_scores for person in found)])))
    return results


def draw(image: np.ndarray, result: Mapping[str, np.ndarray],
         meta: Mapping[str, Any] | None = None, min_score: float = 0.3) -> np.ndarray:
    """Draw boxes and skeletons by mmpose's visualizer.

    Args:
        image: (H, W, 3) uint8, BGR.
        result: Of :func:`predict`.
        meta: The model's ``dataset_meta``, for skeleton and colours; COCO's by default.
        min_score: Keypoints below it are left out.

    Returns:
        The picture, as ``image``.
    """
    from mmengine.structures import InstanceData
    from mmpose.datasets.datasets.utils import parse_pose_metainfo
    from mmpose.structures import PoseDataSample
    from mmpose.visualization import PoseLocalVisualizer
    if meta is None:
        meta = parse_pose_metainfo(dict(from_file='configs/_base_/datasets/coco.py'))
    stroke = max(1, round(max(image.shape[:2]) / 400))
    visualizer = PoseLocalVisualizer(line_width=stroke, radius=stroke + 1)
    visualizer.set_dataset_meta(dict(meta))
    sample = PoseDataSample(pred_instances=InstanceData(
        bboxes=result['boxes'], keypoints=result['keypoints'],
        keypoints_visible=result['keypoint_scores']))
    picture = visualizer.add_datasample(
        'pose', np.ascontiguousarray(image[..., ::-1]), sample, draw_gt=False, draw_bbox=True,
        kpt_thr=min_score)
    return np.ascontiguousarray(picture[..., ::-1])

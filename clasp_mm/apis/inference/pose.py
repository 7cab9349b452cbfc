"""Top-down pose of people in given boxes, by mmpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from clasp_mm.compat import quiet_mmcv_lite

from .weights import load_weights

_BATCH = 32  # people in one forward


def load(config: str | Path, checkpoint: str | Path, device: str = 'cpu') -> nn.Module:
    """Build a fine-tuned pose estimator, ready for :func:`predict`.

    Args:
        config: Its config, of mmpose's top-down kind.
        checkpoint: A checkpoint of its training.
        device: Where it runs.

    Raises:
        FileNotFoundError: There is no such config or checkpoint.
        ValueError: The weights do not fit the config's model.
    """
    quiet_mmcv_lite()
    from mmpose.apis import init_model
    model = init_model(str(config), device=device)
    meta = load_weights(model, checkpoint)
    model.dataset_meta = meta.get('dataset_meta') or model.dataset_meta
    return model


def predict(model: nn.Module, images: Sequence[np.ndarray],
            boxes: Sequence[np.ndarray] | None = None) -> list[dict[str, np.ndarray]]:
    """Find the keypoints of the people in each image.

    Args:
        model: From :func:`load`.
        images: Each (H, W, 3) uint8, BGR.
        boxes: For each image (N, 4), x1, y1, x2, y2 in pixels; None takes the whole image as the
            box of one person.

    Returns:
        For each image ``boxes`` (N, 4), ``keypoints`` (N, K, 2), x and y in pixels of the image,
        and ``keypoint_scores`` (N, K), the height of the heatmap.

    Raises:
        ValueError: A box is empty, not finite or outside its image.
    """
    from mmpose.apis import inference_topdown
    if boxes is None:
        boxes = [[[0, 0, image.shape[1], image.shape[0]]] for image in images]
    results = []
    for image, given in zip(images, boxes, strict=True):
        given = _checked(given, image)
        people = [person.pred_instances for start in range(0, len(given), _BATCH)
                  for person in inference_topdown(model, image, given[start:start + _BATCH])]
        num_keypoints = model.dataset_meta['num_keypoints']
        results.append(dict(
            boxes=given,
            keypoints=np.concatenate([np.zeros((0, num_keypoints, 2), np.float32),
                                      *(person.keypoints for person in people)]),
            keypoint_scores=np.concatenate([np.zeros((0, num_keypoints), np.float32),
                                            *(person.keypoint_scores for person in people)])))
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


def _checked(boxes: Sequence, image: np.ndarray) -> np.ndarray:
    """Boxes as (N, 4) float32, each with an area inside the image."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    height, width = image.shape[:2]
    inside = np.minimum(boxes[:, 2:], (width, height)) - np.maximum(boxes[:, :2], 0)
    bad = ~(np.isfinite(boxes).all(1) & (inside > 0).all(1))
    if bad.any():
        raise ValueError(f'box {boxes[bad][0].tolist()} (x1, y1, x2, y2) has no area inside the '
                         f'image of {width}x{height} pixels')
    return boxes

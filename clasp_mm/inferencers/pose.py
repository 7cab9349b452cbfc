"""Top-down pose of people in given boxes, by mmpose."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from .batches import predict_batches, prepare
from .boxes import check_boxes, whole
from .loading import Built, loader

BATCH = 32  # people in one forward


def _build(cfg: Config, device: torch.device) -> Built:
    from mmpose.apis import init_model
    model = init_model(cfg, device=device)
    return model, cfg.test_dataloader.dataset.pipeline, model.dataset_meta


load = loader('mmpose', _build)


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
        result: Result of :func:`predict`.
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

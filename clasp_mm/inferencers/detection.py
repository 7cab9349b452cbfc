"""Boxes of pedestrians or people, by mmdet."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from .batches import predict_batches, prepare
from .boxes import has_area
from .loading import Built, loader

BATCH = 1  # images in one forward; they are large


def _build(cfg: Config, device: torch.device) -> Built:
    from mmdet.apis import init_detector
    from mmdet.registry import DATASETS
    from mmdet.utils import get_test_pipeline_cfg
    data = {**cfg.test_dataloader.dataset, 'lazy_init': True}
    model = init_detector(cfg, palette='random', device=device)
    steps = get_test_pipeline_cfg(cfg.copy())
    steps[0].type = 'mmdet.LoadImageFromNDArray'
    return model, steps, DATASETS.build(data).metainfo


load = loader('mmdet', _build)


def predict(model: nn.Module, images: Sequence[np.ndarray], batch_size: int = BATCH
            ) -> list[dict[str, np.ndarray]]:
    """Find the boxes in each image.

    Args:
        model: From :func:`load`.
        images: Each (H, W, 3) uint8, BGR.
        batch_size: Images in one forward, where they are of one size.

    Returns:
        For each image ``boxes`` (N, 4), x1, y1, x2, y2 in pixels, ``scores`` (N, ) and ``labels``
        (N, ), the index of the class, best first; none without area in the image.
    """
    results = []
    samples = (prepare(model, image, img_id=0) for image in images)
    for sample, image in zip(predict_batches(model, samples, batch_size), images, strict=True):
        found = sample.pred_instances.numpy()
        found = found[has_area(found.bboxes, image)]
        results.append(dict(boxes=found.bboxes, scores=found.scores, labels=found.labels))
    return results


def draw(image: np.ndarray, result: Mapping[str, np.ndarray], min_score: float = 0.3,
         classes: Sequence[str] | None = None) -> np.ndarray:
    """Draw boxes by mmdet's visualizer.

    Args:
        image: (H, W, 3) uint8, BGR.
        result: Result of :func:`predict`.
        min_score: Boxes below it are left out.
        classes: Names of the classes, by default numbers.

    Returns:
        The picture, as ``image``.
    """
    from mmdet.structures import DetDataSample
    from mmdet.visualization import DetLocalVisualizer
    from mmengine.structures import InstanceData
    visualizer = DetLocalVisualizer(line_width=max(1, round(max(image.shape[:2]) / 600)))
    visualizer.dataset_meta = dict(classes=classes, palette='random')
    sample = DetDataSample(pred_instances=InstanceData(
        bboxes=torch.as_tensor(result['boxes']), scores=torch.as_tensor(result['scores']),
        labels=torch.as_tensor(result['labels'])))
    visualizer.add_datasample('boxes', np.ascontiguousarray(image[..., ::-1]), sample,
                              draw_gt=False, pred_score_thr=min_score)
    return np.ascontiguousarray(visualizer.get_image()[..., ::-1])

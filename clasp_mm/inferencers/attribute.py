"""Attributes of people in crops, by mmpretrain."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from .batches import predict_batches, prepare
from .loading import Built, loader

BATCH = 64  # crops in one forward
_LINE = 16  # height of a line of text in pixels
_PANEL = 190  # width of the list in pixels


def _build(cfg: Config, device: torch.device) -> Built:
    from mmpretrain import get_model
    model = get_model(cfg, device=device)
    names = tuple(f'attribute {index}' for index in range(model.head.num_attributes))
    steps = cfg.test_dataloader.dataset.pipeline[1:]  # images are loaded
    return model, steps, dict(classes=names)


load = loader('mmpretrain', _build)


def predict(model: nn.Module, images: Sequence[np.ndarray], batch_size: int = BATCH
            ) -> list[dict[str, np.ndarray]]:
    """Tell the attributes of the one person in each image.

    Args:
        model: From :func:`load`; the pipeline of its config's test data prepares the images.
        images: Each (H, W, 3) uint8, BGR.
        batch_size: Crops in one forward.

    Returns:
        For each image ``probabilities`` (A,), in the order of ``model.dataset_meta['classes']``,
        and ``attributes``, the names of those above 0.5.
    """
    names, results = np.array(model.dataset_meta['classes']), []
    samples = (prepare(model, image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
               for image in images)
    for sample in predict_batches(model, samples, batch_size):
        scores = sample.pred_score.cpu().numpy()
        results.append(dict(probabilities=scores, attributes=names[scores > .5]))
    return results


def draw(image: np.ndarray, result: Mapping[str, np.ndarray],
         classes: Sequence[str] | None = None, min_score: float = 0.5) -> np.ndarray:
    """Put the attributes beside the crop, the most probable first, by MMEngine's visualizer.

    Args:
        image: (H, W, 3) uint8, BGR; it is enlarged where the list needs more height, to no more
            width than that.
        result: Result of :func:`predict`.
        classes: Names of the attributes, by default numbers.
        min_score: Attributes of a lower probability are left out.

    Returns:
        The picture, as ``image``; its size depends on ``image``'s and on the number of attributes.
    """
    from mmengine.visualization import Visualizer
    scores = result['probabilities']
    names = [str(name) for name in (classes or range(len(scores)))]
    height = max(image.shape[0], (len(scores) + 1) * _LINE)
    zoom = min(height / image.shape[0], max(height / image.shape[1], 1))  # of a strip, no more
    size = [max(1, round(side * zoom)) for side in image.shape[1::-1]]
    crop = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    canvas = np.full((height, crop.shape[1] + _PANEL, 3), 255, np.uint8)
    canvas[:crop.shape[0], :crop.shape[1]] = crop[..., ::-1]
    order = [index for index in np.argsort(-scores, kind='stable') if scores[index] >= min_score]
    visualizer = Visualizer(image=canvas)
    if order:
        left = crop.shape[1] + 6
        tops = _LINE * (np.arange(len(order)) + .5)
        lengths = scores[order] * (_PANEL - 12)
        bars = np.stack([np.full(len(order), left), tops, left + lengths, tops + _LINE - 3], 1)
        visualizer.draw_bboxes(bars, edge_colors='none', face_colors=(150, 200, 240), alpha=.8)
        visualizer.draw_texts([f'{scores[index]:.2f} {names[index]}' for index in order],
                              np.stack([np.full(len(order), left + 2), tops], 1), colors='k',
                              font_sizes=8)
    return np.ascontiguousarray(visualizer.get_image()[..., ::-1])

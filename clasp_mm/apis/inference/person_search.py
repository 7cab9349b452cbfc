"""Find one person in whole pictures, by SeqNet on mmdet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from . import detection
from .detection import load

__all__ = ['draw', 'embed', 'load', 'predict']


def embed(model: nn.Module, image: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """The unit vector (C, ) of a person, to search for in other pictures.

    Args:
        model: From :func:`load`.
        image: (H, W, 3) uint8, BGR.
        box: x1, y1, x2, y2 of the person in pixels.

    Raises:
        ValueError: The box lies outside the image.
    """
    sample = _run(model, image, [dict(bbox=[float(one) for one in box])])
    return sample.query_features[0].float().cpu().numpy()


def predict(model: nn.Module, images: Sequence[np.ndarray], query: np.ndarray | None = None
            ) -> list[dict[str, np.ndarray]]:
    """Find everybody in each image, and how similar each is to the person searched for.

    Args:
        model: From :func:`load`.
        images: Each (H, W, 3) uint8, BGR.
        query: (C, ) of :func:`embed`.

    Returns:
        For each image ``boxes`` (N, 4), x1, y1, x2, y2 in pixels, ``scores`` (N, ), ``labels``
        (N, ), all 0, and ``features`` (N, C); with a query ``similarity`` (N, ) too, and the most
        similar first, otherwise the most confident.
    """
    results = []
    for image in images:
        found = _run(model, image, []).pred_instances.numpy()
        result = dict(boxes=found.bboxes, scores=found.scores, labels=found.labels,
                      features=found.features)
        if query is not None:
            result['similarity'] = found.features @ query
            order = np.argsort(-result['similarity'], kind='stable')
            result = {name: values[order] for name, values in result.items()}
        results.append(result)
    return results


def draw(image: np.ndarray, result: Mapping[str, np.ndarray], min_score: float = 0.3
         ) -> np.ndarray:
    """Draw the boxes; with a query, those of enough similarity, and their similarity in percent.

    Args:
        image: (H, W, 3) uint8, BGR.
        result: Of :func:`predict`.
        min_score: Less similar (without a query, less confident) people are left out.

    Returns:
        The picture, as ``image``.
    """
    searched = 'similarity' in result
    return detection.draw(
        image, dict(result, scores=result['similarity' if searched else 'scores']), min_score,
        ('similarity', ) if searched else ('person', ))


@torch.no_grad()
def _run(model: nn.Module, image: np.ndarray, queries: Sequence[Mapping[str, Any]]) -> Any:
    """The data sample of one image."""
    from mmcv.transforms import Compose
    from mmdet.utils import get_test_pipeline_cfg
    steps = get_test_pipeline_cfg(model.cfg.copy())
    steps[0].type = 'mmdet.LoadImageFromNDArray'
    data = Compose(steps)(dict(img=image, img_id=0, queries=list(queries)))
    return model.test_step(dict(inputs=[data['inputs']], data_samples=[data['data_samples']]))[0]

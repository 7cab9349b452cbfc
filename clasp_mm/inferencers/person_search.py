"""Find one person in whole pictures, by SeqNet on mmdet."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from . import detection
from .batches import predict_batches, prepare
from .boxes import check_boxes, has_area
from .detection import BATCH, load

__all__ = ['BATCH', 'draw', 'embed', 'load', 'predict']


def embed(model: nn.Module, image: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """The unit vector (C, ) of a person, to search for in other pictures.

    Args:
        model: From :func:`load`.
        image: (H, W, 3) uint8, BGR.
        box: x1, y1, x2, y2 of the person in pixels.

    Raises:
        ValueError: The box lies outside the image.
    """
    return predict(model, [image], boxes=[[box]])[0]['features'][0]


def predict(model: nn.Module, images: Sequence[np.ndarray], query: np.ndarray | None = None,
            boxes: Sequence[np.ndarray | None] | None = None, batch_size: int = BATCH
            ) -> list[dict[str, np.ndarray]]:
    """Find everybody in each image, and how similar each is to the person searched for.

    Args:
        model: From :func:`load`.
        images: Each (H, W, 3) uint8, BGR.
        query: (C, ) of :func:`embed`.
        boxes: People to look at, for each image (N, 4); None, of one or of all, finds them.
        batch_size: Images of one size in one forward.

    Returns:
        For each image ``boxes`` (N, 4), x1, y1, x2, y2 in pixels, ``scores`` (N, ), 1 of given
        boxes, ``labels`` (N, ), all 0, and ``features`` (N, C); with a query ``similarity`` (N, )
        too, and the most similar first, otherwise the most confident, or as they were given.

    Raises:
        ValueError: A box is empty, not finite or outside its image.
    """
    given = [None if one is None else check_boxes(one, image) for image, one in zip(
        images, [None] * len(images) if boxes is None else boxes, strict=True)]
    samples = (prepare(model, image, img_id=0, queries=[
        dict(bbox=box.tolist()) for box in (() if own is None else own)])
        for image, own in zip(images, given, strict=True))
    results = []
    for sample, own, image in zip(
            predict_batches(model, samples, batch_size), given, images, strict=True):
        found = sample.pred_instances.numpy()
        if own is None:
            found = found[has_area(found.bboxes, image)]
            result = dict(boxes=found.bboxes, scores=found.scores, labels=found.labels,
                          features=found.features)
        else:
            result = dict(boxes=own, scores=np.ones(len(own), np.float32),
                          labels=np.zeros(len(own), np.int64),
                          features=sample.query_features.float().cpu().numpy())
        if query is not None:
            result['similarity'] = result['features'] @ query
            order = np.argsort(-result['similarity'], kind='stable')
            result = {name: values[order] for name, values in result.items()}
        results.append(result)
    return results


def draw(image: np.ndarray, result: Mapping[str, np.ndarray], min_score: float = 0.3
         ) -> np.ndarray:
    """Draw the boxes; with a query, those of enough similarity, and their similarity in percent.

    Args:
        image: (H, W, 3) uint8, BGR.
        result: Result of :func:`predict`.
        min_score: Less similar (without a query, less confident) people are left out.

    Returns:
        The picture, as ``image``.
    """
    searched = 'similarity' in result
    return detection.draw(
        image, dict(result, scores=result['similarity' if searched else 'scores']), min_score,
        ('similarity', ) if searched else ('person', ))

"""Prepared images through a model, several in one forward."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from torch import nn

from clasp_mm.datasets.images import UnreadableImageError


def predict_batches(model: nn.Module, samples: Iterable[Mapping[str, Any]], batch_size: int
                    ) -> Iterator[Any]:
    """What a host's model says of each sample, in order.

    Neighbours share a forward where their inputs have one shape, so that none is padded to
    another's and a result does not depend on what it was batched with.

    Args:
        model: With ``test_step``.
        samples: Of the model's test pipeline: ``inputs``, (3, H, W), and ``data_samples``.
        batch_size: Samples in one forward, at most.

    Raises:
        ValueError: ``batch_size`` is not positive.
    """
    if batch_size < 1:
        raise ValueError(f'batch_size={batch_size} must be at least 1')
    batch: list[Mapping[str, Any]] = []
    for sample in samples:
        if batch and (len(batch) == batch_size
                      or sample['inputs'].shape != batch[0]['inputs'].shape):
            yield from _forward(model, batch)
            batch = []
        batch.append(sample)
    if batch:
        yield from _forward(model, batch)


def prepare(model: nn.Module, image: np.ndarray, **fields: Any) -> Mapping[str, Any]:
    """A sample of an image by the model's pipeline.

    Args:
        model: With ``pipeline``.
        image: (H, W, 3) uint8, BGR.
        **fields: What else the pipeline reads.

    Raises:
        UnreadableImageError: Nothing is left of the image at the model's size: it is too thin.
    """
    try:
        return model.pipeline(dict(img=image, **fields))
    except cv2.error as error:
        raise UnreadableImageError(
            f'an image of {image.shape[1]}x{image.shape[0]} pixels cannot be brought to the '
            f'model\'s size: {error.err}') from error


@torch.no_grad()
def _forward(model: nn.Module, batch: list[Mapping[str, Any]]) -> Any:
    return model.test_step(pseudo_collate(batch))

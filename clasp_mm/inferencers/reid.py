"""Features of people for re-identification, by mmpretrain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmengine.config import Config
from torch import nn
from tqdm import tqdm

from clasp_mm.datasets.images import read_images, warn_unreadable
from clasp_mm.visualization.ranked_lists import draw_ranked_list

from .batches import predict_batches, prepare
from .loading import Built, loader

if TYPE_CHECKING:
    from .gallery import ReIDIndex

BATCH = 64
_BLANK = np.full((2, 1, 3), 255, np.uint8)


def _build(cfg: Config, device: torch.device) -> Built:
    from mmengine.registry import DefaultScope
    from mmpretrain.registry import MODELS
    if cfg.get('model', {}).get('head', {}).get('type') != 'clasp_mm.ReIDHead':
        raise ValueError(f'{cfg.filename} has no model.head of type clasp_mm.ReIDHead: it is no '
                         'config of re-identification')
    cfg.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model).to(device).eval()
    return model, cfg.test_pipeline[1:], {}  # images are loaded


load = loader('mmpretrain', _build)


def predict(model: nn.Module, images: Sequence[np.ndarray], index: ReIDIndex | None = None,
            count: int = 10, camera: int | None = None, batch_size: int = BATCH
            ) -> list[dict[str, np.ndarray]]:
    """Compute the feature of the person in each image and search a gallery for it.

    Args:
        model: From :func:`load`.
        images: Each (H, W, 3) uint8, BGR, of one person.
        index: The gallery; None only computes features.
        count: Images to find for each, at most.
        camera: Camera of all images, for a model with vectors of cameras.
        batch_size: Images in one forward.

    Returns:
        For each image ``feature``, (C,) float32 of unit length, and, of a gallery, ``names`` and
        ``distances`` of what was found, nearest first.

    Raises:
        ValueError: An image is empty, the model needs a camera, or the index is of another model.
    """
    for image in images:
        if image.ndim != 3 or not image.size:
            raise ValueError(f'an image of shape {image.shape}: a colour image (H, W, 3) with '
                             'pixels is needed')
    samples = (prepare(model, image, img_shape=image.shape[:2], ori_shape=image.shape[:2],
                       camera=camera) for image in images)
    results: list[dict[str, np.ndarray]] = [
        dict(feature=sample.feature.cpu().numpy())
        for sample in predict_batches(model, samples, batch_size)]
    if index is not None and results:
        found = index.search(np.stack([result['feature'] for result in results]), count,
                             next(model.parameters()).device)
        for result, near in zip(results, found, strict=True):
            result['names'] = np.array([one.name for one in near])
            result['distances'] = np.array([one.distance for one in near])
    return results


def embed_files(model: nn.Module, paths: Sequence[str | Path], progress: bool = True
                ) -> tuple[np.ndarray, list[int]]:
    """Features (n, C) of the files that can be read, and their places in ``paths``.

    The others are counted and named in the log.

    Args:
        model: From :func:`load`.
        paths: Paths of images of one person each.
        progress: Show a bar.

    Raises:
        FileNotFoundError: None can be read.
    """
    features, places, unreadable = [], [], []
    readable = read_images(tqdm(paths, desc='features', disable=not progress), unreadable)
    while read := list(islice(readable, BATCH)):
        places += [place for place, _ in read]
        features += [result['feature'] for result in predict(model, [image for _, image in read])]
    if not places:
        raise FileNotFoundError(f'none of {len(paths)} images can be read; the first: '
                                f'{unreadable[0]}')
    warn_unreadable(unreadable, len(paths))
    return np.stack(features), places


def draw(image: np.ndarray, result: Mapping[str, np.ndarray], root: str | Path,
         unreadable: set[str] | None = None) -> np.ndarray:
    """Draw the query and the images that were found for it, those blank that cannot be read.

    Args:
        image: (H, W, 3) uint8, BGR.
        result: Result of :func:`predict` with an index.
        root: Folder of the gallery.
        unreadable: What is wrong with such images is added; by default it is a warning.

    Returns:
        The picture, BGR.
    """
    names, faults = result['names'], []
    read = dict(read_images([Path(root, name) for name in names], faults))
    if unreadable is None:
        warn_unreadable(faults, len(names))
    else:
        unreadable.update(faults)
    found = [read.get(place, _BLANK)[..., ::-1] for place in range(len(names))]
    picture = draw_ranked_list(image[..., ::-1], found, result['distances'])
    return np.ascontiguousarray(picture[..., ::-1])

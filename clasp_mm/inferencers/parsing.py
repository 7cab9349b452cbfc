"""Human parsing of whole images, by mmsegmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from .batches import predict_batches, prepare
from .loading import Built, loader

BATCH = 8  # images in one forward


def _build(cfg: Config, device: torch.device) -> Built:
    from mmseg.apis import init_model
    from mmseg.datasets import LIPDataset
    cfg.model.backbone.init_cfg = None  # the checkpoint holds the backbone
    steps = [step for step in cfg.test_pipeline[1:] if step['type'] != 'LoadAnnotations']
    return Built(init_model(cfg, device=device), 'mmseg',
                 [dict(type='mmseg.LoadImageFromNDArray'), *steps], LIPDataset.METAINFO)


load = loader(_build)


def predict(model: nn.Module, images: Sequence[np.ndarray], batch_size: int = BATCH
            ) -> list[dict[str, np.ndarray]]:
    """Find the parts in each image; arguments as of :func:`.detection.predict`.

    Returns:
        For each image ``labels``, (H, W) uint8: the class of every pixel.
    """
    samples = (prepare(model, image) for image in images)
    return [dict(labels=sample.pred_sem_seg.data[0].cpu().numpy().astype(np.uint8))
            for sample in predict_batches(model, samples, batch_size)]


def draw(image: np.ndarray, result: Mapping[str, np.ndarray]) -> np.ndarray:
    """Lay the parts over the image in LIP's colours, by mmsegmentation's visualizer.

    Args:
        image: (H, W, 3) uint8, BGR.
        result: Result of :func:`predict`.

    Returns:
        The picture, as ``image``.
    """
    from mmengine.structures import PixelData
    from mmseg.datasets import LIPDataset
    from mmseg.structures import SegDataSample
    from mmseg.visualization import SegLocalVisualizer
    visualizer = SegLocalVisualizer(alpha=0.6)
    visualizer.dataset_meta = LIPDataset.METAINFO  # its constructor exchanges classes and palette
    labels = result['labels'].astype(np.int64)[None]  # an array: one pixel as a tensor is an index
    visualizer.add_datasample(
        'parsing', np.ascontiguousarray(image[..., ::-1]),
        SegDataSample(pred_sem_seg=PixelData(data=labels)), draw_gt=False, with_labels=False)
    return np.ascontiguousarray(visualizer.get_image()[..., ::-1])

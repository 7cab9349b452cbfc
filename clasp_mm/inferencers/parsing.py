"""Human parsing of whole images, by mmsegmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from clasp_mm.compat import quiet_mmcv_lite
from clasp_mm.models.weights.coverage import load_weights
from clasp_mm.utils.device import pick_device
from clasp_mm.zoo.config import open_config

from .batches import predict_batches, prepare

BATCH = 8  # images in one forward


def load(config: str | Path | Config, checkpoint: str | Path,
         device: str | torch.device | None = None) -> nn.Module:
    """Build a fine-tuned parser, ready for :func:`predict`.

    Args:
        config: Its config, or that read, of one of mmsegmentation's models.
        checkpoint: A checkpoint of its training.
        device: Where it runs; by default on the GPU where there is one.

    Raises:
        FileNotFoundError: There is no such config or checkpoint.
        ValueError: The weights do not fit the config's model.
    """
    quiet_mmcv_lite()
    from mmengine.dataset import Compose
    from mmengine.registry import DefaultScope
    from mmseg.apis import init_model
    from mmseg.datasets import LIPDataset
    cfg = open_config(config)
    cfg.model.backbone.init_cfg = None  # the checkpoint holds the backbone
    model = init_model(cfg, device=pick_device(device))
    load_weights(model, checkpoint)
    model.dataset_meta = LIPDataset.METAINFO
    steps = [step for step in cfg.test_pipeline[1:] if step['type'] != 'LoadAnnotations']
    with DefaultScope.overwrite_default_scope('mmseg'):
        model.pipeline = Compose([dict(type='mmseg.LoadImageFromNDArray'), *steps])
    return model


def predict(model: nn.Module, images: Sequence[np.ndarray], batch_size: int = BATCH
            ) -> list[dict[str, np.ndarray]]:
    """Find the parts in each image.

    Args:
        model: From :func:`load`.
        images: Each (H, W, 3) uint8, BGR.
        batch_size: Images in one forward, where they are of one size.

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
        result: Of :func:`predict`.

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

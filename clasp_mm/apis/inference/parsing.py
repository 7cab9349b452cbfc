"""Human parsing of whole images, by mmsegmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import nn

from clasp_mm.compat import quiet_mmcv_lite

from .weights import load_weights


def load(config: str | Path, checkpoint: str | Path, device: str = 'cpu') -> nn.Module:
    """Build a fine-tuned parser, ready for :func:`predict`.

    Args:
        config: Its config, of one of mmsegmentation's models.
        checkpoint: A checkpoint of its training.
        device: Where it runs.

    Raises:
        FileNotFoundError: There is no such config or checkpoint.
        ValueError: The weights do not fit the config's model.
    """
    quiet_mmcv_lite()
    from mmengine.config import Config
    from mmseg.apis import init_model
    from mmseg.datasets import LIPDataset
    cfg = Config.fromfile(config)
    cfg.model.backbone.init_cfg = None  # the checkpoint holds the backbone
    model = init_model(cfg, device=device)
    load_weights(model, checkpoint)
    model.dataset_meta = LIPDataset.METAINFO
    return model


def predict(model: nn.Module, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Find the parts in each image.

    Args:
        model: From :func:`load`.
        images: Each (H, W, 3) uint8, BGR.

    Returns:
        For each image ``labels``, (H, W) uint8: the class of every pixel.
    """
    from mmseg.apis import inference_model
    return [dict(labels=inference_model(model, image).pred_sem_seg.data[0].cpu().numpy().astype(
        np.uint8)) for image in images]


def draw(image: np.ndarray, result: Mapping[str, np.ndarray]) -> np.ndarray:
    """Lay the parts over the image in LIP's colours, by mmsegmentation's visualizer.

    Args:
        image: (H, W, 3) uint8, BGR.
        result: Of :func:`predict`.

    Returns:
        The picture, as ``image``.
    """
    import torch
    from mmengine.structures import PixelData
    from mmseg.datasets import LIPDataset
    from mmseg.structures import SegDataSample
    from mmseg.visualization import SegLocalVisualizer
    visualizer = SegLocalVisualizer(alpha=0.6)
    visualizer.dataset_meta = LIPDataset.METAINFO  # its constructor exchanges classes and palette
    labels = torch.from_numpy(result['labels'].astype(np.int64))[None]
    visualizer.add_datasample(
        'parsing', np.ascontiguousarray(image[..., ::-1]),
        SegDataSample(pred_sem_seg=PixelData(data=labels)), draw_gt=False, with_labels=False)
    return np.ascontiguousarray(visualizer.get_image()[..., ::-1])

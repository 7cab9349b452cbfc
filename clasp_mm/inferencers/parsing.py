"""Human parsing of whole images, by mmsegmentation."""

from collections.abc import Mapping, Sequence
from functools import partial

import cv2
import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from .batches import predict_batches, prepare
from .loading import Built, loader

BATCH = 8  # images in one forward
_COLUMN, _LINE = 112, 17  # of the legend, in pixels


def _build(cfg: Config, device: torch.device) -> Built:
    from mmseg.apis import init_model
    from mmseg.datasets import LIPDataset
    cfg.model.backbone.init_cfg = None  # the checkpoint holds the backbone
    steps = [step for step in cfg.test_pipeline[1:] if step['type'] != 'LoadAnnotations']
    return (init_model(cfg, device=device), [dict(type='mmseg.LoadImageFromNDArray'), *steps],
            LIPDataset.METAINFO)


load = loader('mmseg', _build)


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
    """Lay the parts over the image in LIP's colours, by mmsegmentation's visualizer, and a legend.

    Args:
        image: (H, W, 3) uint8, BGR.
        result: Result of :func:`predict`.

    Returns:
        The picture, (H', W', 3) uint8, BGR: the image is its upper left corner, below it stands how
        many parts were found and which colour is which; those not found are faint.
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
    return np.ascontiguousarray(_with_legend(visualizer.get_image(), np.unique(labels),
                                             **LIPDataset.METAINFO)[..., ::-1])


def _with_legend(image: np.ndarray, found: np.ndarray, classes: Sequence[str],
                 palette: Sequence[Sequence[int]]) -> np.ndarray:
    """The image (H, W, 3) RGB above the names of all parts, so that frames stay of one size."""
    parts = np.setdiff1d(found, [0, 255])
    across = max(image.shape[1] // _COLUMN, 2)
    lines = 1 + -(-(len(classes) - 1) // across)
    width = max(image.shape[1], across * _COLUMN)
    out = np.full((image.shape[0] + lines * _LINE + 4, width, 3), 255, np.uint8)
    out[:image.shape[0], :image.shape[1]] = image
    text = partial(cv2.putText, out, fontFace=cv2.FONT_HERSHEY_SIMPLEX, fontScale=.38,
                   thickness=1, lineType=cv2.LINE_AA)
    top = image.shape[0]
    text(f'{len(parts) or "no"} part{"s" * (len(parts) > 1)} found', (4, top + 13), color=(0, 0, 0))
    for i, (name, colour) in enumerate(zip(classes[1:], palette[1:], strict=True)):
        x, y = i % across * _COLUMN + 4, top + (1 + i // across) * _LINE
        cv2.rectangle(out, (x, y + 3), (x + 11, y + 14), colour, -1)
        text(name, (x + 15, y + 13), color=(0, 0, 0) if i + 1 in parts else (190, 190, 190))
    return out

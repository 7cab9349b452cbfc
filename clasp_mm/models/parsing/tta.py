"""Test-time augmentation of labels that name left and right."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseTTAModel
from mmengine.structures import PixelData

from clasp_mm.registry import MODELS


@MODELS.register_module()
class ParsingTTAModel(BaseTTAModel):
    """Averages the logits over scales and flips, as SCHP does.

    mmsegmentation's ``SegTTAModel`` flips the maps back, but left stays right.

    Args:
        swap_seg_labels: Pairs of classes that a horizontal flip exchanges, as of mmsegmentation's
            ``RandomFlip``.
        **kwargs: Of MMEngine's ``BaseTTAModel``.
    """

    def __init__(self, swap_seg_labels: Sequence[Sequence[int]], **kwargs) -> None:
        super().__init__(**kwargs)
        self.swap_seg_labels = [tuple(pair) for pair in swap_seg_labels]

    def merge_preds(self, data_samples_list: Sequence[Sequence]) -> list:
        """Merge the predictions of each image.

        Args:
            data_samples_list: Per image, its samples, each with ``seg_logits`` (C, H, W) at the
                original size, already flipped back.

        Returns:
            The first sample of each image with the mean ``seg_logits`` and their ``pred_sem_seg``.
        """
        return [self._merge(samples) for samples in data_samples_list]

    def _merge(self, samples: Sequence):
        first = samples[0]
        total = torch.zeros_like(first.seg_logits.data)
        order = torch.arange(len(total), device=total.device)
        for a, b in self.swap_seg_labels:
            order[a], order[b] = b, a
        for sample in samples:
            logits = sample.seg_logits.data
            total += logits[order] if sample.metainfo.get('flip') else logits
        total /= len(samples)
        first.set_data(dict(seg_logits=PixelData(data=total),
                            pred_sem_seg=PixelData(data=total.argmax(0, keepdim=True))))
        return first

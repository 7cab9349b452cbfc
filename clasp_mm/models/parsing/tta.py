"""Test-time augmentation of labels that name left and right."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseTTAModel
from mmseg.models.utils import resize

from clasp_mm.registry import MODELS

from .human_parser import set_prediction


@MODELS.register_module()
class ParsingTTAModel(BaseTTAModel):
    """Averages the logits over scales and flips, as SCHP does, at the first sample's size.

    mmsegmentation's ``SegTTAModel`` flips the maps back, but left stays right.

    Args:
        swap_seg_labels: Pairs of classes that a horizontal flip exchanges, as of mmsegmentation's
            ``RandomFlip``.
        **kwargs: Arguments of MMEngine's ``BaseTTAModel``.
    """

    def __init__(self, swap_seg_labels: Sequence[Sequence[int]], **kwargs) -> None:
        super().__init__(**kwargs)
        self.swap_seg_labels = [tuple(pair) for pair in swap_seg_labels]

    def merge_preds(self, data_samples_list: Sequence[Sequence]) -> list:
        """Merge the predictions of each image.

        Args:
            data_samples_list: Per image, its samples, each with ``seg_logits`` (C, H_i, W_i) as
                :class:`.HumanParser` leaves them, already flipped back.

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
            if sample.metainfo.get('flip'):
                logits = logits[order]
            total += resize(logits[None], total.shape[1:], mode='bilinear', align_corners=True,
                            warning=False)[0]
        set_prediction(first, total / len(samples))
        return first

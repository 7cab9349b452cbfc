"""A segmentor whose labels are corrected by the average of its past."""

import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.models.utils import resize
from torch import Tensor

from clasp_mm.models.losses.parsing import refine_labels
from clasp_mm.registry import MODELS


@MODELS.register_module()
class SelfCorrectingParser(EncoderDecoder):
    """mmsegmentation's ``EncoderDecoder`` for the cycles of SCHP (Li et al. 2020).

    Once ``clasp_mm.SelfCorrectionHook`` has given it an averaged model, every sample carries soft
    labels (``soft_sem_seg``), that model's prediction fused with the label.
    """

    _averaged: tuple[EncoderDecoder, int] | None = None  # a tuple: no part of the state dict

    def correct_labels(self, averaged: EncoderDecoder, cycle: int) -> None:
        """Use soft labels from now on.

        Args:
            averaged: A model of this architecture, in evaluation mode.
            cycle: See :func:`~clasp_mm.models.losses.parsing.refine_labels`.
        """
        self._averaged = averaged, cycle

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Losses of a batch (B, 3, H, W) and its samples."""
        if self._averaged is not None:
            averaged, cycle = self._averaged
            label = torch.cat([sample.gt_sem_seg.data for sample in data_samples])
            with torch.no_grad():
                logits = resize(averaged(inputs), size=label.shape[-2:], mode='bilinear',
                                align_corners=self.align_corners)
                soft = refine_labels(label, logits.softmax(1), cycle)
            for sample, target in zip(data_samples, soft, strict=True):
                sample.set_data(dict(soft_sem_seg=PixelData(data=target)))
        return super().loss(inputs, data_samples)

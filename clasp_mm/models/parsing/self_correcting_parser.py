"""A segmentor whose labels are corrected by the average of its past."""

import torch
from mmengine.structures import PixelData
from mmseg.models.utils import resize
from torch import Tensor

from clasp_mm.registry import MODELS

from ..losses.parsing import label_edges, refine_labels
from .human_parser import HumanParser


@MODELS.register_module()
class SelfCorrectingParser(HumanParser):
    """A :class:`.HumanParser` for the cycles of SCHP (Li et al. 2020).

    Once ``clasp_mm.SelfCorrectionHook`` has given it an averaged model, every sample carries soft
    labels (``soft_sem_seg``, ``soft_edge``), that model's prediction fused with the label.
    """

    _averaged: tuple[HumanParser, int] | None = None  # a tuple: no part of the state dict

    def correct_labels(self, averaged: HumanParser, cycle: int) -> None:
        """Use soft labels from now on.

        Args:
            averaged: A model of this architecture.
            cycle: See :func:`~clasp_mm.models.losses.parsing.refine_labels`.
        """
        self._averaged = averaged, cycle

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Losses of a batch (B, 3, H, W) and its samples."""
        if self._averaged is not None:
            averaged, cycle = self._averaged
            label = torch.cat([sample.gt_sem_seg.data for sample in data_samples])
            with torch.no_grad():
                seen = averaged.decode_head.forward_all(averaged.extract_feat(inputs))
                soft = [refine_labels(truth, resize(
                    logits, size=label.shape[-2:], mode='bilinear',
                    align_corners=self.align_corners, warning=False), cycle)
                    for truth, logits in ((label, seen.refined), (label_edges(label), seen.edge))]
            for sample, target, edges in zip(data_samples, *soft, strict=True):
                sample.set_data(dict(soft_sem_seg=PixelData(data=target),
                                     soft_edge=PixelData(data=edges)))
        return super().loss(inputs, data_samples)

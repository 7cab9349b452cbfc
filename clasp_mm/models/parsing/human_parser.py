"""A segmentor whose predictions go back to the picture as the picture came to the network."""

import cv2
import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor

from clasp_mm.registry import MODELS


@MODELS.register_module()
class HumanParser(EncoderDecoder):
    """mmsegmentation's ``EncoderDecoder`` behind ``clasp_mm.PersonAffine``.

    ``pred_sem_seg`` is what SCHP's evaluation scores: the most likely classes at the network's
    size, brought back by the inverse of ``affine``. ``seg_logits`` stay at the network's size.
    Samples without ``affine`` are the host's.
    """

    def postprocess_result(self, seg_logits: Tensor, data_samples: list | None = None) -> list:
        """Predictions (B, C, H, W) into their samples, a mirrored picture's mirrored back."""
        if data_samples is None or 'affine' not in data_samples[0].metainfo:
            return super().postprocess_result(seg_logits, data_samples)
        for logits, sample in zip(seg_logits, data_samples, strict=True):
            if sample.metainfo.get('flip'):
                logits = logits.flip(-2 if sample.get('flip_direction') == 'vertical' else -1)
            set_prediction(sample, logits)
        return data_samples


def set_prediction(sample: SegDataSample, logits: Tensor) -> None:
    """Give a sample ``seg_logits`` and, at the picture's size, their classes ``pred_sem_seg``.

    Args:
        sample: Sample with ``ori_shape`` and ``affine`` (``clasp_mm.PersonAffine``'s); without the
            latter the classes stay where they are.
        logits: (C, H, W).
    """
    classes = logits.argmax(0)
    if 'affine' in sample.metainfo:
        back = cv2.warpAffine(
            classes.cpu().numpy().astype(np.int16), sample.affine, sample.ori_shape[1::-1],
            flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
        classes = torch.from_numpy(back).to(classes)
    sample.set_data(dict(seg_logits=PixelData(data=logits),
                         pred_sem_seg=PixelData(data=classes[None])))

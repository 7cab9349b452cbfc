"""A label map that is none is refused when it is read."""

import os
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image

from clasp_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CheckLabelMap(BaseTransform):
    """Passes a sample on if its ``gt_seg_map`` holds one class per pixel of its image.

    A class out of range would be an index error without a name in the loss, or kill the process
    on a GPU. Samples without a map (inference) pass.

    Args:
        num_classes: Classes are 0 to ``num_classes - 1``; 255 is ignored.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def transform(self, results: dict) -> dict:
        """Check one sample.

        Raises:
            ValueError: Names the file and what is wrong with it.
        """
        label, path = results.get('gt_seg_map'), results.get('seg_map_path', 'a label map')
        if label is None:
            return results
        problem = label_problem(label, results['ori_shape'], self.num_classes)
        if problem or (os.path.isfile(path) and (problem := _depth_problem(path))):
            raise ValueError(f'{path}: {problem}')
        return results


def _depth_problem(path: str) -> str | None:
    """More than a byte a pixel, of which the host's reader keeps the lower one."""
    with Image.open(path) as image:
        return (f'{image.mode} pixels: more than one byte each; save class numbers as one'
                if image.mode[0] in 'IF' else None)


def label_problem(label: np.ndarray, shape: Sequence[int], num_classes: int) -> str | None:
    """What is wrong with a label map, or None.

    Args:
        label: What was read.
        shape: (height, width) of its image.
        num_classes: See :class:`CheckLabelMap`.
    """
    if label.ndim < 2:
        return 'one pixel wide or high, which the host cannot read: leave the image out'
    if label.ndim > 2:
        return (f'{label.shape[-1]} channels: a picture of colours, not of class numbers; save '
                'the index map (one byte a pixel)')
    if label.shape != tuple(shape[:2]):
        return f'{label.shape[0]}x{label.shape[1]} pixels, its image {shape[0]}x{shape[1]}'
    wrong = (label >= num_classes) & (label != 255)
    if wrong.any():
        return (f'label {label[wrong].max()} at {int(wrong.sum())} pixels; the classes are 0 to '
                f'{num_classes - 1}, and 255 is ignored')
    return None

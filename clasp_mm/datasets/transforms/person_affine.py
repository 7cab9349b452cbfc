"""Fit a person's picture and labels into the network's size."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from clasp_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PersonAffine(BaseTransform):
    """Centre the whole picture in a size, its aspect kept; scale and rotate at random (SCHP).

    One warp for both: the image linearly (averaged first where it shrinks), with black around it,
    the maps named in ``seg_fields`` by the nearest pixel, with ``seg_pad_val`` around them. Without
    augmentation the picture covers whole pixels, and mmsegmentation brings predictions back by
    ``padding_size`` and ``ori_shape``.

    Args:
        size: (height, width) of the result.
        scale_std: Standard deviation of the factor on the size, a normal draw around 1, clipped
            at one deviation.
        rotation_std: Standard deviation of the angle in degrees, clipped at two.
        rotation_prob: Share of the pictures that are rotated.
        seg_pad_val: Label outside the picture.
    """

    def __init__(self, size: Sequence[int], scale_std: float = 0., rotation_std: float = 0.,
                 rotation_prob: float = 0.6, seg_pad_val: int = 255) -> None:
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f'size must be (height, width) in pixels, got {size}')
        if not 0 <= scale_std < 1:
            raise ValueError(f'scale_std must be in [0, 1), got {scale_std}')
        self.size = tuple(size)
        self.scale_std = scale_std
        self.rotation_std = rotation_std
        self.rotation_prob = rotation_prob
        self.seg_pad_val = seg_pad_val

    def transform(self, results: dict) -> dict:
        """Warp ``img`` (H, W, 3) and the label maps (H, W)."""
        source = results['img'].shape[:2]
        (height, width), (top, left) = self._place(source)
        place, draw = ((height, width), (top, left)), self._draw()
        image = results['img']
        if height < source[0]:  # averaged: linear sampling would alias
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        results['img'] = cv2.warpAffine(
            image, _affine(image.shape, *place, *draw), self.size[::-1], flags=cv2.INTER_LINEAR)
        for key in results.get('seg_fields', ()):
            results[key] = cv2.warpAffine(
                results[key], _affine(source, *place, *draw), self.size[::-1],
                flags=cv2.INTER_NEAREST, borderValue=self.seg_pad_val)
        results['img_shape'] = results['pad_shape'] = self.size
        results['scale_factor'] = (width / source[1], height / source[0])
        results['padding_size'] = [left, self.size[1] - width - left,
                                   top, self.size[0] - height - top]
        return results

    def _place(self, source: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Size and corner of the picture before augmentation."""
        zoom = min(self.size[0] / source[0], self.size[1] / source[1])
        fitted = tuple(max(round(side * zoom), 1) for side in source)
        return fitted, tuple((whole - part) // 2
                             for whole, part in zip(self.size, fitted, strict=True))

    def _draw(self) -> tuple[float, float]:
        """Factor and angle in degrees."""
        scale, angle = np.random.randn(2)
        scale = 1 + self.scale_std * np.clip(scale, -1, 1)
        angle = self.rotation_std * np.clip(angle, -2, 2)
        return scale, angle if np.random.rand() < self.rotation_prob else 0.


def _affine(source: Sequence[int], fitted: tuple[int, int], corner: tuple[int, int],
            scale: float, angle: float) -> np.ndarray:
    """(2, 3) matrix of x, y that takes the source onto its place, then turns it there."""
    zoom = np.diag([fitted[1] / source[1], fitted[0] / source[0]])
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    linear = scale * np.array([[cos, -sin], [sin, cos]]) @ zoom
    from_centre = (np.array([source[1], source[0]]) - 1) / 2
    to_centre = np.array(corner[::-1]) + (np.array(fitted[::-1]) - 1) / 2
    return np.column_stack([linear, to_centre - linear @ from_centre])

"""Fit a person's picture and labels into the network's size."""

from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from clasp_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PersonAffine(BaseTransform):
    """Centre the whole picture in a size, its aspect kept; scale and rotate at random (SCHP).

    One warp for both: the image linearly (averaged first where it shrinks to less than half), with
    black around it, the maps named in ``seg_fields`` by the nearest pixel, with ``seg_pad_val``
    around them. As published the centres of the outer pixels fall onto those of the size, in the
    direction that is tight.

    ``affine`` is the (2, 3) matrix of x, y from the picture's pixels to those of the result, by
    which ``clasp_mm.HumanParser`` brings predictions back; ``padding_size`` has the whole pixels
    around the picture, by which mmsegmentation's models do, to a pixel or less.

    Args:
        size: (height, width) of the result.
        scale_std: Standard deviation of the factor on the part of the picture that is seen, a
            normal draw around 1, clipped at one deviation: with 0.25 the picture comes out 0.8 to
            1.33 times as large.
        rotation_std: Standard deviation of the angle in degrees, clipped at two.
        rotation_prob: Share of the pictures that are rotated.
        seg_pad_val: Label outside the picture.
    """

    def __init__(self, size: Sequence[int], scale_std: float = 0., rotation_std: float = 0.,
                 rotation_prob: float = 0.6, seg_pad_val: int = 255) -> None:
        if len(size) != 2 or min(size) < 2:
            raise ValueError(f'size must be (height, width) in pixels, 2 at least, got {size}')
        if not 0 <= scale_std < 1:
            raise ValueError(f'scale_std must be in [0, 1), got {scale_std}')
        self.size = tuple(size)
        self.scale_std = scale_std
        self.rotation_std = rotation_std
        self.rotation_prob = rotation_prob
        self.seg_pad_val = seg_pad_val

    def transform(self, results: dict) -> dict:
        """Warp ``img`` (H, W, 3) and the label maps (H, W)."""
        image = results['img']
        source = image.shape[:2]
        scale, angle = self._draw()
        matrix, zoom = _affine(source, self.size, scale, angle), _zoom(source, self.size)
        fitted = [max(round(side * zoom), 1) for side in source]
        place = matrix
        if zoom < 0.5:  # linear sampling would pass over pixels
            image = cv2.resize(image, fitted[::-1], interpolation=cv2.INTER_AREA)
            place = matrix @ _from_resized(fitted, source)
        results['img'] = cv2.warpAffine(image, place, self.size[::-1], flags=cv2.INTER_LINEAR)
        for key in results.get('seg_fields', ()):
            results[key] = cv2.warpAffine(
                results[key], matrix, self.size[::-1], flags=cv2.INTER_NEAREST,
                borderValue=self.seg_pad_val)
        results['img_shape'] = results['pad_shape'] = self.size
        results['scale_factor'] = (zoom, zoom)
        results['affine'] = matrix
        top, left = (max(whole - part, 0) // 2
                     for whole, part in zip(self.size, fitted, strict=True))
        results['padding_size'] = [left, max(self.size[1] - fitted[1] - left, 0),
                                   top, max(self.size[0] - fitted[0] - top, 0)]
        return results

    def _draw(self) -> tuple[float, float]:
        """Factor and angle in degrees."""
        scale, angle = np.random.randn(2)
        scale = 1 + self.scale_std * np.clip(scale, -1, 1)
        angle = self.rotation_std * np.clip(angle, -2, 2)
        return scale, angle if np.random.rand() < self.rotation_prob else 0.


def _zoom(source: Sequence[int], size: Sequence[int]) -> float:
    """Pixels of the size to one of the source."""
    (height, width), (rows, columns) = source, size
    return (columns - 1) / max(width - 1, (height - 1) * columns / rows, 1)


def _affine(source: Sequence[int], size: Sequence[int], scale: float, angle: float) -> np.ndarray:
    """(2, 3) matrix of x, y from the source, of which ``scale`` times as much is seen, turned."""
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    linear = _zoom(source, size) / scale * np.array([[cos, -sin], [sin, cos]])
    from_centre, to_centre = ((np.array(sides[::-1]) - 1) / 2 for sides in (source, size))
    return np.column_stack([linear, to_centre - linear @ from_centre])


def _from_resized(fitted: Sequence[int], source: Sequence[int]) -> np.ndarray:
    """(3, 3) matrix from the pixels of a resized picture, whose borders are the source's."""
    zoom = np.array(source[::-1]) / np.array(fitted[::-1])
    return np.vstack([np.column_stack([np.diag(zoom), (zoom - 1) / 2]), [0, 0, 1]])

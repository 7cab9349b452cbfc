"""mmpose 0.x's random draws for boxes of people.

Needs mmpose, so nothing here imports it: a config names it in ``custom_imports``.
"""

import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmpose.datasets.transforms import RandomBBoxTransform

from clasp_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ClippedBBoxTransform(RandomBBoxTransform):
    """mmpose's ``RandomBBoxTransform``, its arguments, with the draws of mmpose 0.x.

    Of a box that is shifted, resized or rotated

    * the shift is uniform in ``[-shift_factor, shift_factor]`` times the padded box;
    * the factor on the size is normal around the middle of ``scale_factor``, with half its width
      as deviation, and clipped to it: a third of the draws lie at the ends;
    * the angle is normal with half of ``rotate_factor`` as deviation, and clipped to it.

    RandomBBoxTransform draws all of them from a normal cut off, not clipped, at one deviation.
    SOLIDER's recipe shifts before a half of the body may take the box's place, and resizes and
    rotates after it: so it has two of these, one with ``scale_prob=0, rotate_prob=0`` and one with
    ``shift_prob=0``.
    """

    @cache_randomness
    def _get_transform_params(self, num_bboxes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Shift (N, 2) as a share of the box, factor (N, 1) and angle in degrees (N, )."""
        low, high = self.scale_factor
        offset = np.random.uniform(-1, 1, (num_bboxes, 2)) * self.shift_factor
        scale = np.random.normal((low + high) / 2, (high - low) / 2, (num_bboxes, 1))
        angle = np.random.normal(0, self.rotate_factor / 2, num_bboxes)

        def at(prob: float, drawn: np.ndarray, plain: float) -> np.ndarray:
            chosen = np.random.rand(num_bboxes, *(1, ) * (drawn.ndim - 1)) < prob
            return np.where(chosen, drawn, plain).astype(np.float32)

        return (at(self.shift_prob, offset, 0.), at(self.scale_prob, scale.clip(low, high), 1.),
                at(self.rotate_prob, angle.clip(-self.rotate_factor, self.rotate_factor), 0.))

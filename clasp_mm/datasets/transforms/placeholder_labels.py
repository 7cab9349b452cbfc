"""Labels that mean nothing, where only the cost of a step is asked for."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from clasp_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PlaceholderLabels(BaseTransform):
    """Labels of the right form and without meaning: a step costs the same, no labels are needed.

    Args:
        num_attributes: A.
    """

    def __init__(self, num_attributes: int) -> None:
        self.num_attributes = num_attributes

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``part_map`` (32, 16), ``attr_target`` (A,) and ``label_accepted``."""
        results.update(part_map=np.zeros((32, 16), np.uint8), label_accepted=True,
                       attr_target=np.zeros(self.num_attributes, np.int64))
        return results

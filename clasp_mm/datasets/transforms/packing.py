"""The last step of the pretraining pipeline: views and labels as tensors."""

from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform

from clasp_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackViews(BaseTransform):
    """Keep what the algorithm reads, as tensors that MMEngine's ``default_collate`` stacks.

    Gives ``inputs``, a list of (3, H_i, W_i) uint8 BGR views, and ``data_samples``, a dict of
    ``sample_idx`` (int), ``skipped`` (names of images passed over in reading, one per line, ''
    for none) and, where a labeler set them, ``part_map`` ((num_global, h, w) uint8),
    ``attr_target`` ((A,) int64) and ``label_accepted`` (bool).
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        samples = {'sample_idx': int(results['sample_idx']),
                   'skipped': results.get('skipped', '')}
        if 'view_part_maps' in results:
            samples['part_map'] = torch.from_numpy(results['view_part_maps'])
        if 'attr_target' in results:
            samples['attr_target'] = torch.as_tensor(results['attr_target'], dtype=torch.int64)
        if 'label_accepted' in results:
            samples['label_accepted'] = torch.tensor(bool(results['label_accepted']))
        return {'inputs': [_to_tensor(view) for view in results['views']], 'data_samples': samples}


def _to_tensor(view: np.ndarray) -> torch.Tensor:
    planes = np.empty((3, *view.shape[:2]), np.uint8)
    cv2.split(view, list(planes))
    return torch.from_numpy(planes)

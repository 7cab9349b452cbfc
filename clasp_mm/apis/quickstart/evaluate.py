"""Score frozen backbones on synthetic people that pretraining never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from clasp_mm.apis.features import batches, dense_features, pooled_features
from clasp_mm.datasets.synthetic import GroundTruth
from clasp_mm.evaluation.functional import evaluate_reid
from clasp_mm.evaluation.probes import linear_probe_attributes, linear_probe_segmentation
from clasp_mm.models.layers import TASKS
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY, LIP_TO_PART

PART_NAMES = ('background', *DEFAULT_VOCABULARY.part_names)


def evaluate_backbone(backbone: nn.Module, truth: GroundTruth, parts: np.ndarray,
                      size: tuple[int, int]) -> dict[str, Any]:
    """Re-identification, part and attribute scores of frozen features, each with its prompt.

    Every image is a query against all others (same identity and camera removed). The linear
    probes learn on the first half of the identities and are scored on the second.

    Args:
        backbone: In evaluation mode; all its maps feed the part probe, the last one the others.
        truth: Ground truth of N images.
        parts: Part labels of the default vocabulary, (N, H, W) uint8.
        size: (H, W) of the input.

    Returns:
        ``mAP``, ``rank1``, ``mIoU``, ``mA`` in percent, and ``part_iou``, per part.
    """
    paths = [str(truth.root / name) for name in truth.names]
    pooled = pooled_features(backbone, paths, size, 'appearance')
    reid = evaluate_reid(pooled, pooled, truth.identity, truth.identity, truth.camera,
                         truth.camera, metric='cosine')
    train = truth.identity < np.median(np.unique(truth.identity))
    dense = dense_features(backbone, paths, size, 'part')
    segmentation = linear_probe_segmentation(dense[train], parts[train], dense[~train],
                                             parts[~train], len(PART_NAMES))
    pooled = pooled_features(backbone, paths, size, 'attribute')
    attributes = linear_probe_attributes(pooled[train], truth.pa100k[train], truth.identity[train],
                                         pooled[~train], truth.pa100k[~train])
    return dict(mAP=reid['mAP'], rank1=reid['rank1'], mIoU=segmentation['mIoU'],
                mA=attributes['mA'],
                part_iou=dict(zip(PART_NAMES, segmentation['iou'].tolist(), strict=True)))


def read_parts(truth: GroundTruth) -> np.ndarray:
    """Part labels of all images, (N, H, W) uint8, under the default vocabulary."""
    table = np.asarray(LIP_TO_PART, np.uint8)
    return np.stack([table[truth.parsing(i)] for i in range(len(truth.names))])


@torch.inference_mode()
def expert_use(backbone: nn.Module, paths: Sequence[str],
               size: tuple[int, int]) -> Mapping[str, np.ndarray]:
    """Mean gate of every expert under each task, {task: (stages, n)}."""
    sums: dict[str, Any] = {task: 0 for task in TASKS}
    device = next(backbone.parameters()).device
    for images in batches(paths, size, device):
        embedded = backbone.embed(images)
        for task in TASKS:
            gates = backbone.from_embed(embedded, task)[1]
            sums[task] = sums[task] + torch.stack([g.gates.sum(0) for g in gates]).cpu()
    return {task: (value / len(paths)).numpy() for task, value in sums.items()}

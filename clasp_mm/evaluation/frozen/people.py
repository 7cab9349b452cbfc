"""Score frozen backbones on synthetic people that pretraining never saw."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clasp_mm.datasets.inputs import batches
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY, LIP_TO_PART
from clasp_mm.synthetic import GroundTruth

from ..functional import evaluate_reid
from ..functional.bootstrap import accuracy_sums, by_group, precision_sums
from ..probes.linear import linear_probe_attributes, linear_probe_segmentation

PART_NAMES = ('background', *DEFAULT_VOCABULARY.part_names)
PART_PROBE_IMAGES, SCORED_MAPS = 640, 1280
PROMPTS = dict(reid='appearance', attribute='attribute', parsing='part')


class Scored(NamedTuple):
    """Scores, and what they are functions of.

    Attributes:
        scores: Metric -> percent, and ``part_iou``.
        sums: Metric -> (U, F), what each person or scene that was scored adds; the score of sums
            (F,) is :data:`.tasks.SCORE_OF_SUMS`.
    """

    scores: dict[str, Any]
    sums: dict[str, np.ndarray]


def evaluate_backbone(backbone: nn.Module, train: GroundTruth, held_out: GroundTruth,
                      size: tuple[int, int], prompts: Mapping[str, Any] = PROMPTS) -> Scored:
    """Re-identification, part and attribute scores of frozen features, each with its prompt.

    Every held-out image is a query against all others (same identity and camera removed). The
    linear probes learn on the people of ``train``, parts on ``PART_PROBE_IMAGES`` of their images,
    and are scored on all held-out people, parts on at most ``SCORED_MAPS`` of their images.

    Args:
        backbone: In evaluation mode; all its maps feed the part probe, the last one the others.
        train: Ground truth that the probes may see.
        held_out: Ground truth of other identities.
        size: (H, W) of the input.
        prompts: Task -> what the backbone is told.

    Returns:
        ``mAP``, ``rank1``, ``mIoU``, ``mA`` in percent, and ``part_iou``, per part; the sums of
        mAP, mIoU and mA for each of the held-out people in the order of their numbers.
    """
    sets = dict(train=train, held_out=held_out)
    paths = {name: [str(truth.root / image) for image in truth.names]
             for name, truth in sets.items()}
    pooled = pooled_features(backbone, paths['held_out'], size, prompts['reid'])
    identity, camera = held_out.identity, held_out.camera
    reid = evaluate_reid(pooled, pooled, identity, identity, camera, camera, metric='cosine')

    pooled = {name: pooled_features(backbone, paths[name], size, prompts['attribute'])
              for name in sets}
    attributes = linear_probe_attributes(pooled['train'], train.pa100k, train.identity,
                                         pooled['held_out'], held_out.pa100k)
    index = dict(train=evenly(train, PART_PROBE_IMAGES), held_out=evenly(held_out, SCORED_MAPS))
    dense = {name: dense_features(backbone, [paths[name][i] for i in index[name]], size,
                                  prompts['parsing']) for name in sets}
    parts = {name: read_parts(truth, index[name]) for name, truth in sets.items()}
    segmentation = linear_probe_segmentation(dense['train'], parts['train'], dense['held_out'],
                                             parts['held_out'], len(PART_NAMES))
    person = people_of(held_out)
    counts = segmentation['counts']
    return Scored(
        dict(mAP=reid['mAP'], rank1=reid['rank1'], mIoU=segmentation['mIoU'],
             mA=attributes['mA'],
             part_iou=dict(zip(PART_NAMES, segmentation['iou'].tolist(), strict=True))),
        dict(mAP=precision_sums(reid['average_precision'], person),
             mIoU=by_group(np.concatenate(
                 [counts.sum(2), counts.sum(1), counts.diagonal(0, 1, 2)], 1),
                 person[index['held_out']]),
             mA=accuracy_sums(attributes['probabilities'] > .5, held_out.pa100k == 1,
                              held_out.pa100k == 0, person)))


def people_of(truth: GroundTruth) -> np.ndarray:
    """Number of each image's person from 0, (N,), in the order of their identities."""
    return np.unique(truth.identity, return_inverse=True)[1].reshape(-1)


def evenly(truth: GroundTruth, most: int) -> np.ndarray:
    """At most so many of the images, for the tasks that read maps: features are held in memory."""
    count = len(truth.names)
    return np.linspace(0, count - 1, min(most, count)).round().astype(int)


def read_parts(truth: GroundTruth, index: Sequence[int]) -> np.ndarray:
    """Part labels of images ``index``, (N, H, W) uint8, under the default vocabulary."""
    table = np.asarray(LIP_TO_PART, np.uint8)
    return np.stack([table[truth.parsing(i)] for i in index])


@torch.inference_mode()
def pooled_features(backbone: nn.Module, paths: Sequence[str], size: tuple[int, int],
                    task: str | None) -> np.ndarray:
    """Mean over the last map of each image, (N, C) float32."""
    return np.concatenate([maps[-1].mean((2, 3)).cpu().numpy()
                           for maps in _maps(backbone, paths, size, task)])


@torch.inference_mode()
def dense_features(backbone: nn.Module, paths: Sequence[str], size: tuple[int, int],
                   task: str | None) -> np.ndarray:
    """All maps of the backbone raised to the size of its first and stacked, (N, C, h, w)."""
    stacked = []
    for maps in _maps(backbone, paths, size, task):
        raised = [F.interpolate(m, maps[0].shape[-2:], mode='bilinear') for m in maps]
        stacked.append(torch.cat(raised, 1).cpu().numpy())
    return np.concatenate(stacked)


def _maps(backbone: nn.Module, paths: Sequence[str], size: tuple[int, int],
          task: str | None) -> Iterator[Sequence[Tensor]]:
    for images in batches(paths, size, backbone):
        yield backbone(images, task)

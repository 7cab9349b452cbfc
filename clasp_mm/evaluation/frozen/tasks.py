"""Score a frozen backbone on all six tasks with synthetic people and scenes.

Nothing of the backbone is trained: re-identification and person search compare its features,
the others fit a linear map of single tokens or of the pooled map.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clasp_mm.datasets.images import read_image, resize_images
from clasp_mm.datasets.inputs import load_images, normalize
from clasp_mm.datasets.search_annotations import read_cuhk_sysu
from clasp_mm.synthetic import GroundTruth, write_cuhk_sysu

from ..functional import detection_average_precision, evaluate_person_search
from ..functional.bootstrap import (
    average_precision,
    by_group,
    mean_accuracy,
    mean_iou,
    precision_sums,
    ratio,
)
from ..functional.person_search import right_boxes
from ..probes.dense import PeopleProbe, linear_probe_keypoints
from .people import (
    PROMPTS,
    SCORED_MAPS,
    Scored,
    dense_features,
    evaluate_backbone,
    evenly,
    people_of,
)

TASK_PROMPTS = {**PROMPTS, 'pose': 'part', 'detection': 'part',
                'person_search': ('appearance', 'part')}
# Of SOLIDER's own fine-tuning recipes.
SEMANTIC_WEIGHTS = dict(reid=0.2, attribute=0.8, parsing=0.8, pose=0.8, detection=1.0,
                        person_search=0.6)
METRICS = {'reid': 'mAP', 'attribute': 'mA', 'parsing': 'mIoU', 'pose': 'PCK',
           'detection': 'det AP', 'person_search': 'search mAP'}
SCORE_OF_SUMS = {'mAP': ratio, 'mA': mean_accuracy, 'mIoU': mean_iou, 'PCK': ratio,
                 'det AP': average_precision, 'search mAP': ratio}
_STRIDE = 4          # of the first map
_SCENE_SCALE = 0.5   # people of the scenes are then about as large as the crops of pretraining
_POSE_IMAGES = 640
_BATCH = 8
_BINS = 64


def write_scenes(folder: Path, scenes: int, seed: int = 0) -> None:
    """Draw as many scenes of detection and person search to learn and to score on, once."""
    for split in ('train', 'val'):
        write_cuhk_sysu(folder, split, scenes, seed=seed)


def evaluate_tasks(backbone: nn.Module, train: GroundTruth, held_out: GroundTruth, scenes: Path,
                   size: tuple[int, int], prompts: Mapping[str, Any]) -> Scored:
    """All six tasks; see :func:`evaluate_backbone`, and for ``scenes`` :func:`write_scenes`.

    Returns:
        Metric -> percent, as in :data:`METRICS`, and ``rank1``; each metric's sums over the
        held-out people, of detection over scenes and of person search over people sought.
    """
    scores, sums = evaluate_backbone(backbone, train, held_out, size, prompts)
    del scores['part_iou']
    pose = score_pose(backbone, train, held_out, size, prompts['pose'])
    in_scenes = score_scenes(backbone, scenes, size, prompts)
    return Scored({**scores, **pose.scores, **in_scenes.scores},
                   {**sums, **pose.sums, **in_scenes.sums})


def score_pose(backbone: nn.Module, train: GroundTruth, held_out: GroundTruth,
               size: tuple[int, int], prompt: Any) -> Scored:
    """PCK at a tenth of the image's height, by a linear probe on ``_POSE_IMAGES`` images."""
    scored = evenly(held_out, SCORED_MAPS)
    sets = ((train, evenly(train, _POSE_IMAGES)), (held_out, scored))
    features = [dense_features(backbone, [str(truth.root / truth.names[i]) for i in chosen], size,
                               prompt) for truth, chosen in sets]
    points = []
    for truth, chosen in sets:
        height, width = truth.parsing(0).shape
        scale = np.array([size[1] / width, size[0] / height, 1], np.float32)
        points.append(truth.keypoints[chosen] * scale)
    found = linear_probe_keypoints(features[0], points[0], features[1], points[1], size)
    return Scored({'PCK': found['PCK']}, {
        'PCK': by_group(found['counts'] * [100, 1], people_of(held_out)[scored])})


def score_scenes(backbone: nn.Module, folder: Path, size: tuple[int, int],
                 prompts: Mapping[str, Any]) -> Scored:
    """Detection AP of a linear detector, and person search mAP among the true boxes.

    Boxes are given to person search, so that its score is that of the features alone.
    """
    (train, _), (frames, queries) = (read_cuhk_sysu(folder, split) for split in ('train', 'test'))
    paths = {split: [str(folder / 'Image/SSM' / one.name) for one in rows]
             for split, rows in (('train', train), ('test', frames))}
    found = find_people(backbone, paths['train'], [one.boxes for one in train], paths['test'],
                        prompts['detection'])
    truth = [one.boxes for one in frames]
    detection = detection_average_precision([boxes for boxes, _ in found],
                                            [scores for _, scores in found], truth)
    features = [crop_features(backbone, path, boxes, size, prompts['person_search'])
                for path, boxes in zip(paths['test'], truth, strict=True)]
    number = {frame.name: at for at, frame in enumerate(frames)}
    images = [number[one.frame] for one in queries]
    # A query is one of its frame's true boxes.
    rows = [int(np.abs(truth[image] - one.box).sum(1).argmin())
            for image, one in zip(images, queries, strict=True)]
    search = evaluate_person_search(
        truth, [np.ones(len(boxes)) for boxes in truth], features,
        np.stack([features[image][row] for image, row in zip(images, rows, strict=True)]), images,
        np.stack([one.box for one in queries]), [one.pid for one in queries], truth,
        [one.pids for one in frames], [[number[name] for name in one.gallery] for one in queries])
    sought = np.unique([one.pid for one in queries], return_inverse=True)[1].reshape(-1)
    return Scored({'det AP': detection['det_AP'], 'search mAP': search['mAP']}, {
        'det AP': detection_sums(*zip(*found, strict=True), truth),
        'search mAP': precision_sums(search['average_precision'], sought)})


def detection_sums(boxes: Sequence[np.ndarray], scores: Sequence[np.ndarray],
                   truth: Sequence[np.ndarray]) -> np.ndarray:
    """Boxes found and those right, in bins that end with a right one, and true ones, a row a scene.

    ``_BINS`` of equally many right ones, and one of what is less sure than all of them.
    """
    confidence, right = np.concatenate(scores), right_boxes(boxes, truth)
    ends = np.full(_BINS, -np.inf)
    if right.any():
        ends = np.quantile(-confidence[right], np.arange(1, _BINS + 1) / _BINS,
                           method='inverted_cdf')
    bins = np.eye(_BINS + 1)[np.searchsorted(ends, -confidence)]
    scene = np.repeat(np.arange(len(truth)), [len(one) for one in scores])
    return np.concatenate([
        by_group(np.concatenate([bins, bins * right[:, None]], 1), scene, len(truth)),
        np.array([[len(one)] for one in truth])], 1)


def find_people(backbone: nn.Module, train: Sequence[str], train_boxes: Sequence[np.ndarray],
                val: Sequence[str], prompt: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Boxes (N_i, 4) in pixels of the files and scores (N_i,) of each validation scene."""
    def batches() -> Iterator[tuple[Tensor, list[np.ndarray]]]:
        for start, maps in scene_features(backbone, train, prompt):
            yield maps, [boxes * _SCENE_SCALE for boxes in train_boxes[start:start + len(maps)]]

    probe = PeopleProbe.fit(batches(), _STRIDE)
    return [(boxes / _SCENE_SCALE, scores) for _, maps in scene_features(backbone, val, prompt)
            for boxes, scores in probe.detect(maps, _STRIDE)]


@torch.inference_mode()
def scene_features(backbone: nn.Module, paths: Sequence[str],
                   prompt: Any) -> Iterator[tuple[int, Tensor]]:
    """Place of the first scene and stacked maps (B, C, h, w) of each batch; scenes of one size."""
    height, width = read_image(paths[0]).shape[:2]
    size = (round(height * _SCENE_SCALE), round(width * _SCENE_SCALE))
    for start in range(0, len(paths), _BATCH):
        yield start, torch.from_numpy(
            dense_features(backbone, paths[start:start + _BATCH], size, prompt))


@torch.inference_mode()
def crop_features(backbone: nn.Module, path: str, boxes: np.ndarray, size: tuple[int, int],
                  prompt: Any) -> np.ndarray:
    """Unit features (N, C) of boxes (N, 4) of an image."""
    if not len(boxes):
        return np.zeros((0, backbone(load_images([path], size), prompt)[-1].shape[1]), np.float32)
    image = read_image(path)
    limit = np.array([image.shape[1], image.shape[0]] * 2)
    crops = []
    for box in np.clip(np.round(boxes), 0, limit).astype(int):
        left, top = np.minimum(box[:2], limit[:2] - 1)
        right, bottom = np.maximum(box[2:], (left + 1, top + 1))
        crops.append(np.ascontiguousarray(image[top:bottom, left:right]))
    device = next(backbone.parameters()).device
    images = normalize(resize_images(crops, size), backbone).to(device)
    pooled = backbone(images, prompt)[-1].mean((2, 3))
    return nn.functional.normalize(pooled, dim=1).cpu().numpy()

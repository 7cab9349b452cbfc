"""Scores of frozen features on labels, as sums over people or images that can be resampled."""

from collections.abc import Callable

import numpy as np

from clasp_mm.datasets.reid import NO_CAMERA, NOBODY
from clasp_mm.evaluation.functional import evaluate_reid
from clasp_mm.evaluation.functional.bootstrap import (
    Tally,
    accuracy_sums,
    by_group,
    mean_accuracy,
    mean_iou,
    precision_sums,
    ratio,
)
from clasp_mm.evaluation.functional.reid_ranking import with_own_files
from clasp_mm.evaluation.probes.folds import as_rows, fold_attributes, fold_classes, make_folds

from .labels import IGNORE, Labels

NUM_FOLDS = 4
_TOKEN_ITER = 30  # of L-BFGS on tokens, which are many
MIN_GROUPS = 10
METRICS = {'identity': 'mAP', 'attributes': 'mA', 'classes': 'accuracy', 'maps': 'mIoU'}

Score = Callable[[np.ndarray, float], Tally]


def make_score(labels: Labels, classes: np.ndarray | None = None) -> Score:
    """What scores features (N, C), or (N, T, C) of tokens, with a weight decay of the probe.

    Identities: every image with one is a query against all others, those of its camera and
    identity taken out, where its camera is known; nothing is fitted. The others: probes by
    ``NUM_FOLDS`` folds.

    Args:
        labels: Labels of the N images.
        classes: (N, T) classes of the tokens, for maps.

    Raises:
        ValueError: There are too few labels; the message says of what.
    """
    groups = np.unique(labels.groups, return_inverse=True)[1].reshape(-1)
    if labels.kind == 'identity':
        return _retrieval(labels, groups)
    if groups.max() + 1 < MIN_GROUPS:
        raise ValueError(f'too few labels: {len(groups)} images of {groups.max() + 1} people or '
                         f'scenes; an interval needs {MIN_GROUPS}, a choice a hundred and more')
    if labels.kind == 'attributes':
        return _attributes(labels, groups)
    if labels.kind == 'classes':
        return _classes(labels, groups)
    return _maps(classes, groups)


def _retrieval(labels: Labels, groups: np.ndarray) -> Score:
    people, cameras = labels.values, labels.cameras
    if cameras is None:
        cameras = np.full(len(people), NO_CAMERA)
    cameras = with_own_files(cameras, np.array(labels.paths))
    names = np.unique(people[people != NOBODY])
    matched = sum(len(np.unique(cameras[people == name])) > 1 for name in names)
    if matched < MIN_GROUPS:
        where = 'a second image' if labels.cameras is None else 'images of two cameras'
        raise ValueError(f'too few labels: {matched} of {len(names)} people have {where}; an '
                         f'interval needs {MIN_GROUPS}, a choice fifty and more')

    def score(features: np.ndarray, _: float) -> Tally:
        result = evaluate_reid(features, features, people, people, cameras, cameras,
                               metric='cosine')
        return Tally(precision_sums(result['average_precision'], groups), ratio)

    return score


def _classes(labels: Labels, groups: np.ndarray) -> Score:
    owners = [len(np.unique(groups[labels.values == number]))
              for number in range(len(labels.names))]
    few = [f'{name} ({count})' for name, count in zip(labels.names, owners, strict=True)
           if count < NUM_FOLDS]
    if few:
        raise ValueError(f'too few labels: every class needs {NUM_FOLDS} images, of different '
                         f'people where they are known; not so {", ".join(few)}')
    fold = make_folds(groups, labels.values, NUM_FOLDS)

    def score(features: np.ndarray, l2: float) -> Tally:
        right = fold_classes(features, labels.values, fold, l2) == labels.values
        sums = np.stack([100. * right, np.ones(len(right))], 1)
        return Tally(by_group(sums, groups), ratio)

    return score


def _attributes(labels: Labels, groups: np.ndarray) -> Score:
    positive, negative = labels.values == 1, labels.values == 0
    owners = [[len(np.unique(groups[column])) for column in side.T]
              for side in (positive, negative)]
    enough = np.min(owners, 0) >= NUM_FOLDS
    if not enough.any():
        raise ValueError(f'too few labels: none of {len(enough)} attributes has {NUM_FOLDS} images '
                         'with it and as many without, of different people where they are known')
    positive, negative, known = positive[:, enough], negative[:, enough], labels.values[:, enough]
    fold = make_folds(groups, num_folds=NUM_FOLDS)

    def score(features: np.ndarray, l2: float) -> Tally:
        found = fold_attributes(as_rows('features', features), known, fold, l2) > .5
        return Tally(accuracy_sums(found, positive, negative, groups), mean_accuracy)

    return score


def _maps(classes: np.ndarray, groups: np.ndarray) -> Score:
    counted = classes != IGNORE
    present = np.unique(classes[counted])
    if len(present) < 2:
        raise ValueError(f'the label maps hold {len(present)} classes, a probe needs two')
    place = np.full(IGNORE + 1, -1)
    place[present] = np.arange(len(present))
    classes = place[classes]
    fold = make_folds(groups, num_folds=NUM_FOLDS)
    images = np.broadcast_to(np.arange(len(classes))[:, None], classes.shape)[counted]

    def score(features: np.ndarray, l2: float) -> Tally:
        tokens = features.reshape(-1, features.shape[-1])
        found = fold_classes(tokens, classes.reshape(-1), np.repeat(fold, classes.shape[1]), l2,
                             _TOKEN_ITER)
        found, truth = found.reshape(classes.shape)[counted], classes[counted]
        right = found == truth
        sums = np.zeros((3, len(classes), len(present)))
        np.add.at(sums[0], (images, truth), 1)
        np.add.at(sums[1], (images, found), 1)
        np.add.at(sums[2], (images[right], truth[right]), 1)
        return Tally(by_group(np.concatenate(list(sums), 1), groups), mean_iou)

    return score

"""Linear probes by folds: what each image is taken for by a probe that never saw it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .linear import as_numbers, as_rows, fit_linear, placed, predict_attributes, standardiser

_MAX_ITER = 60


def make_folds(groups: Sequence[int], classes: np.ndarray | None = None, num_folds: int = 4
               ) -> np.ndarray:
    """Fold of each image, (N,): a group stays together, and each class is spread evenly.

    Args:
        groups: (N,) images of one number stay in one fold.
        classes: (N,) a group goes to the fold where the class of its first image is rarest.
        num_folds: Folds.

    Raises:
        ValueError: There are fewer groups than folds.
    """
    people, first, number = np.unique(groups, return_index=True, return_inverse=True)
    if not 2 <= num_folds <= len(people):
        raise ValueError(f'num_folds={num_folds} must lie in 2 to the number of groups, '
                         f'{len(people)}')
    order = np.random.RandomState(0).permutation(len(people))
    if classes is not None:
        order = order[np.argsort(np.asarray(classes)[first[order]], kind='stable')]
    fold = np.empty(len(people), np.int64)
    fold[order] = np.arange(len(people)) % num_folds
    return fold[number.reshape(-1)]


def fold_classes(features: np.ndarray | Tensor, labels: np.ndarray, fold: np.ndarray, l2: float,
                 max_iter: int = _MAX_ITER) -> np.ndarray:
    """Classes by multinomial logistic regression on the other folds.

    Channels are standardised by what is learned from; the loss is the mean cross-entropy + l2 / 2
    |W|^2.

    Args:
        features: (N, C).
        labels: (N,) class numbers from 0; negative: not to learn from.
        fold: (N,).
        l2: Weight decay.
        max_iter: Iterations of L-BFGS.

    Returns:
        (N,) class numbers.
    """
    rows, labels = placed(torch.as_tensor(features).float()), np.asarray(labels)
    classes = torch.from_numpy(labels).to(rows.device, torch.int64)
    number = int(labels.max()) + 1
    found = np.empty(len(rows), np.int64)
    for part in np.unique(fold):
        inside = fold == part
        known = as_numbers(~inside & (labels >= 0))
        mean, scale = standardiser(rows[known])
        targets = classes[known]
        weight, bias = fit_linear((rows[known] - mean) / scale, number,
                            lambda logits, targets=targets: F.cross_entropy(logits, targets), l2,
                            max_iter)
        held_out = (rows[as_numbers(inside)] - mean) / scale
        found[inside] = (held_out @ weight + bias).argmax(1).cpu().numpy()
    return found


def fold_attributes(features: np.ndarray | Tensor, labels: np.ndarray, fold: np.ndarray,
                    l2: float, max_iter: int = _MAX_ITER) -> np.ndarray:
    """Probabilities by the probe of :func:`.probes.linear_probe_attributes` on the other folds.

    Args:
        features: (N, C).
        labels: (N, A) of 1, 0 and -1 for unknown.
        fold: (N,).
        l2: Weight decay.
        max_iter: Iterations of L-BFGS.

    Returns:
        (N, A).
    """
    rows, found = as_rows('features', features), np.empty(labels.shape)
    for part in np.unique(fold):
        inside = fold == part
        found[inside] = predict_attributes(rows[as_numbers(~inside)], labels[~inside],
                                            rows[as_numbers(inside)], l2, max_iter)
    return found

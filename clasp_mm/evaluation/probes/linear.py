"""Linear probes: how much of parts and attributes a straight line finds in frozen features.

Both are convex problems started at zero and solved by L-BFGS over all data, so a result depends on
nothing but its input. They are solved on the device of :func:`.utils.device.pick_device`; on a GPU,
whose float32 products may be TensorFloat's, in float64.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..functional.attribute import attribute_metrics
from ..functional.parsing import ConfusionMatrix
from . import folds

_IGNORE = 255
_VAL_BATCH = 32


def linear_probe_segmentation(train_feats: np.ndarray | Tensor, train_maps: np.ndarray | Tensor,
                              val_feats: np.ndarray | Tensor, val_maps: np.ndarray | Tensor,
                              num_classes: int, l2: float = 1e-4, max_tokens: int = 100_000,
                              max_iter: int = 60) -> dict[str, Any]:
    """Multinomial logistic regression from single tokens to classes.

    A token's target is the share of each class in its cell of the label map, so that no label is
    rounded away. Channels are standardised by the training tokens. For scoring, the logits are
    raised to the size of the labels bilinearly.

    Args:
        train_feats: (N, C, h, w) features.
        train_maps: (N, H, W) integer classes, 255 to ignore.
        val_feats: (M, C, h', w') features of images the probe never saw.
        val_maps: (M, H', W') labels, of any size.
        num_classes: Classes are 0 to ``num_classes - 1``, background included.
        l2: Weight decay per token: the loss is the mean cross-entropy + l2 / 2 |W|^2.
        max_tokens: With more training tokens, that many are taken at even distances.
        max_iter: Iterations of L-BFGS.

    Returns:
        The scores of :meth:`~clasp_mm.evaluation.functional.ConfusionMatrix.compute`, in percent,
        and ``counts``, (M, num_classes, num_classes) of each image.

    Raises:
        ValueError: Shapes do not match, a label is out of range, a feature is not finite, or every
            training label is 255.
    """
    train_feats, val_feats = _maps('train_feats', train_feats), _maps('val_feats', val_feats)
    if train_feats.shape[1] != val_feats.shape[1]:
        raise ValueError(f'train_feats have {train_feats.shape[1]} channels, val_feats '
                         f'{val_feats.shape[1]}')
    shares = _class_shares(np.asarray(train_maps), train_feats.shape, num_classes)
    weights = shares.sum(dim=1)
    tokens = train_feats.permute(0, 2, 3, 1).reshape(len(shares), -1)
    used = weights.nonzero()[:, 0]
    if len(used) == 0:
        raise ValueError(f'every training label is {_IGNORE}, there is nothing to learn from')
    if len(used) > max_tokens:
        used = used[torch.linspace(0, len(used) - 1, max_tokens).long()]
    tokens, shares, weights = (folds.placed(one[used]) for one in (tokens, shares, weights))
    mean, scale = folds.standardiser(tokens)
    tokens, weights = (tokens - mean) / scale, weights.sum()

    def loss(logits: Tensor) -> Tensor:
        return -(shares * logits.log_softmax(dim=1)).sum() / weights

    weight, bias = folds.fit_linear(tokens, num_classes, loss, l2, max_iter)
    val_maps = np.asarray(val_maps)
    if len(val_maps) != len(val_feats):
        raise ValueError(f'{len(val_feats)} val_feats but {len(val_maps)} val_maps')
    matrices = []
    for begin in range(0, len(val_feats), _VAL_BATCH):
        labels = val_maps[begin:begin + _VAL_BATCH]
        features = folds.placed(val_feats[begin:begin + _VAL_BATCH]).permute(0, 2, 3, 1)
        logits = ((features - mean) / scale @ weight + bias).permute(0, 3, 1, 2)
        logits = F.interpolate(logits, size=labels.shape[1:], mode='bilinear')
        for found, truth in zip(logits.argmax(dim=1).cpu().numpy(), labels, strict=True):
            matrices.append(ConfusionMatrix(num_classes, _IGNORE))
            matrices[-1].update(found, truth)
    counts = np.stack([one.counts for one in matrices])
    total = ConfusionMatrix(num_classes, _IGNORE)
    total.counts = counts.sum(axis=0)
    return {**total.compute(), 'counts': counts}


def linear_probe_attributes(train_feats: np.ndarray | Tensor, train_labels: np.ndarray,
                            train_ids: Sequence[int], val_feats: np.ndarray | Tensor,
                            val_labels: np.ndarray,
                            l2_choices: Sequence[float] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0),
                            num_folds: int = 4, max_iter: int = 60) -> dict[str, Any]:
    """Logistic regression for each attribute, positives and negatives weighing the same.

    Channels are standardised by the training features. The weight decay, one for all attributes,
    is the one of best mA over ``num_folds`` folds of the training identities; validation data take
    no part in it. An attribute of which training knows one side only is given that side.

    Args:
        train_feats: (N, C) features.
        train_labels: (N, A) of 1, 0 and -1 for unknown.
        train_ids: (N,) identities: images of one person stay in one fold.
        val_feats: (M, C) features.
        val_labels: (M, A) labels.
        l2_choices: Weight decays to choose from: the loss of an attribute is its balanced
            cross-entropy + l2 / 2 |w|^2.
        num_folds: Folds of the choice.
        max_iter: Iterations of L-BFGS.

    Returns:
        The scores of :func:`~clasp_mm.evaluation.functional.attribute_metrics` in percent,
        ``probabilities`` (M, A), and ``l2``, the weight decay chosen.

    Raises:
        ValueError: Shapes do not match, a feature is not finite, or there are fewer identities
            than folds.
    """
    train_feats = folds.as_rows('train_feats', train_feats)
    val_feats = folds.as_rows('val_feats', val_feats)
    train_labels, train_ids = np.asarray(train_labels), np.asarray(train_ids)
    if train_labels.ndim != 2 or not len(train_feats) == len(train_labels) == len(train_ids):
        raise ValueError(f'train_feats {tuple(train_feats.shape)}, train_labels '
                         f'{train_labels.shape} and train_ids {train_ids.shape} must be (N, C), '
                         '(N, A) and (N,)')
    if train_feats.shape[1] != val_feats.shape[1]:
        raise ValueError(f'train_feats have {train_feats.shape[1]} channels, val_feats '
                         f'{val_feats.shape[1]}')
    val_labels = np.asarray(val_labels)
    if val_labels.shape != (len(val_feats), train_labels.shape[1]):
        raise ValueError(f'val_labels {val_labels.shape} must be ({len(val_feats)}, '
                         f'{train_labels.shape[1]})')
    fold = folds.make_folds(train_ids, num_folds=num_folds)

    def mean_accuracy(l2: float) -> float:
        held_out = folds.fold_attributes(train_feats, train_labels, fold, l2, max_iter)
        return attribute_metrics(held_out, train_labels)['mA']

    l2 = max(sorted(l2_choices, reverse=True), key=mean_accuracy)
    probabilities = folds.predict_attributes(train_feats, train_labels, val_feats, l2, max_iter)
    return {**attribute_metrics(probabilities, val_labels), 'probabilities': probabilities,
            'l2': l2}


def _class_shares(maps: np.ndarray, feature_shape: torch.Size, num_classes: int) -> Tensor:
    """Share of each class in each token's cell, (N * h * w, num_classes) float32."""
    number, _, rows, columns = feature_shape
    if maps.ndim != 3 or len(maps) != number or maps.shape[1] < rows or maps.shape[2] < columns:
        raise ValueError(f'train_maps {maps.shape} must be ({number}, H, W), no smaller than the '
                         f'features, which are {rows} x {columns}')
    strange = (maps != _IGNORE) & ((maps < 0) | (maps >= num_classes))
    if strange.any():
        raise ValueError(f'train_maps hold class {maps[strange][0]}; classes are 0 to '
                         f'{num_classes - 1}, and {_IGNORE} to ignore')
    height, width = maps.shape[1:]
    cell = (np.arange(height)[:, None] * rows // height * columns
            + np.arange(width) * columns // width)
    slots = num_classes + 1
    counts = np.stack([
        np.bincount((cell * slots + np.minimum(label.astype(np.int64), num_classes)).ravel(),
                    minlength=rows * columns * slots) for label in maps])
    counts = counts.reshape(-1, slots)
    shares = counts[:, :-1] / counts.sum(axis=1, keepdims=True)
    return torch.from_numpy(shares.astype(np.float32))


def _maps(name: str, features: np.ndarray | Tensor) -> Tensor:
    return folds.finite(name, features, '(images, channels, rows, columns)', 4).float()

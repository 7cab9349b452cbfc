"""Intersection over union of label maps."""

from collections.abc import Iterable
from typing import Any

import numpy as np


class ConfusionMatrix:
    """Counts of (label, prediction) pairs, so that a large set needs no more than its sum.

    Args:
        num_classes: Classes are 0 to ``num_classes - 1``, background included.
        ignore_index: Label of pixels that count nowhere.

    Attributes:
        counts: (num_classes, num_classes) int64; row: label, column: prediction.

    Example:
        >>> matrix = ConfusionMatrix(num_classes=2)
        >>> matrix.update([[0, 1]], [[0, 0]])
        >>> matrix.compute()['pixel_accuracy']
        50.0
    """

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        if num_classes < 2:
            raise ValueError(f'there must be two classes at least, got {num_classes}')
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def update(self, prediction: np.ndarray, label: np.ndarray) -> None:
        """Add one map, or many of one size.

        Args:
            prediction: (...) integer classes.
            label: Integer classes or ``ignore_index``, of the same shape.

        Raises:
            ValueError: The shapes differ, or a class is out of range where the label counts.
        """
        prediction, label = np.asarray(prediction), np.asarray(label)
        if prediction.shape != label.shape:
            raise ValueError(f'prediction {prediction.shape} and label {label.shape} must have '
                             'one shape; bring the prediction to the label\'s size')
        counted = label != self.ignore_index
        label, prediction = label[counted], prediction[counted]
        for name, values in (('prediction', prediction), ('label', label)):
            if not np.issubdtype(values.dtype, np.integer):
                raise ValueError(f'the {name} must hold integer classes, got {values.dtype}')
            if values.size and not 0 <= values.min() <= values.max() < self.num_classes:
                raise ValueError(
                    f'the {name} holds classes {values.min()} to {values.max()}; with '
                    f'num_classes={self.num_classes} they must lie in 0 to {self.num_classes - 1}'
                    f' where the label is not ignore_index={self.ignore_index}')
        pairs = label.astype(np.int64) * self.num_classes + prediction
        self.counts += np.bincount(pairs, minlength=self.counts.size).reshape(self.counts.shape)

    def compute(self) -> dict[str, Any]:
        """Scores of all that was added.

        Returns:
            In percent: ``mIoU``, ``pixel_accuracy``, ``mean_accuracy`` (of the classes' recalls)
            and the (num_classes,) arrays ``iou`` and ``accuracy``. A class that neither labels nor
            predictions hold has no IoU, a class without labels no accuracy: they are NaN and the
            means leave them out. A class that is predicted but never right counts with 0.

        Raises:
            ValueError: No pixel counted.
        """
        if not self.counts.any():
            raise ValueError('no pixel to score: every label is ignore_index='
                             f'{self.ignore_index}, or nothing was added')
        right = np.diag(self.counts)
        labelled, predicted = self.counts.sum(axis=1), self.counts.sum(axis=0)
        with np.errstate(invalid='ignore'):
            iou = right / (labelled + predicted - right) * 100
            accuracy = right / labelled * 100
        return {
            'mIoU': float(np.nanmean(iou)),
            'pixel_accuracy': float(right.sum() / labelled.sum()) * 100,
            'mean_accuracy': float(np.nanmean(accuracy)),
            'iou': iou,
            'accuracy': accuracy,
        }


def parsing_iou(predictions: Iterable[np.ndarray], labels: Iterable[np.ndarray],
                num_classes: int, ignore_index: int = 255) -> dict[str, Any]:
    """Score label maps over a whole set; see :meth:`ConfusionMatrix.compute`.

    Args:
        predictions: (N, H, W) integer classes, or maps (H_i, W_i) of different sizes.
        labels: Integer classes or ``ignore_index``, likewise.
        num_classes: Classes are 0 to ``num_classes - 1``, background included.
        ignore_index: Label of pixels that count nowhere.

    Example:
        >>> parsing_iou([[[0, 1, 1]]], [[[0, 1, 255]]], num_classes=2)['mIoU']
        100.0
    """
    matrix = ConfusionMatrix(num_classes, ignore_index)
    for prediction, label in zip(predictions, labels, strict=True):
        matrix.update(prediction, label)
    return matrix.compute()

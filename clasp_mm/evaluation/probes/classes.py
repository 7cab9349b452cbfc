"""How well frozen features tell classes apart: nearest neighbours and a linear classifier."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .folds import as_rows, predict_classes

_CHUNK = 1024


def knn_accuracy(train_feats: np.ndarray | Tensor, train_labels: np.ndarray,
                 val_feats: np.ndarray | Tensor, val_labels: np.ndarray, k: int = 20,
                 temperature: float = 0.07) -> float:
    """Accuracy of weighted k nearest neighbours (Wu et al. 2018, as DINO scores its features).

    The k training images of largest cosine vote with weight ``exp(cosine / temperature)``.

    Args:
        train_feats: (N, C).
        train_labels: (N,) class numbers from 0.
        val_feats: (M, C).
        val_labels: (M,).
        k: Neighbours; all training images where there are fewer.
        temperature: Temperature of the votes.

    Returns:
        Percent.

    Raises:
        ValueError: Shapes do not match or a feature is not finite.
    """
    train, train_classes, val, val_classes = _checked(train_feats, train_labels, val_feats,
                                                      val_labels)
    train, val = F.normalize(train, dim=1), F.normalize(val, dim=1)
    votes_of = F.one_hot(train_classes).double()
    hits = 0
    for begin in range(0, len(val), _CHUNK):
        cosine, nearest = (val[begin:begin + _CHUNK] @ train.T).topk(min(k, len(train)), dim=1)
        votes = (votes_of[nearest] * (cosine / temperature).exp()[..., None]).sum(1)
        hits += (votes.argmax(1) == val_classes[begin:begin + _CHUNK]).sum().item()
    return 100 * hits / len(val)


def linear_accuracy(train_feats: np.ndarray | Tensor, train_labels: np.ndarray,
                    val_feats: np.ndarray | Tensor, val_labels: np.ndarray, l2: float = 1e-3,
                    max_iter: int = 60) -> float:
    """Accuracy of multinomial logistic regression, solved by L-BFGS from zero.

    Channels are standardised by the training features; the loss is the mean cross-entropy + l2 / 2
    |W|^2. Arguments, result and errors are those of :func:`knn_accuracy`.
    """
    train, train_classes, val, val_classes = _checked(train_feats, train_labels, val_feats,
                                                      val_labels)
    predicted = predict_classes(train, train_classes, val, int(np.max(train_labels)) + 1, l2,
                                max_iter)
    return 100 * (predicted == val_classes).double().mean().item()


def _checked(train_feats: np.ndarray | Tensor, train_labels: np.ndarray,
             val_feats: np.ndarray | Tensor, val_labels: np.ndarray
             ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    train, val = as_rows('train_feats', train_feats), as_rows('val_feats', val_feats)
    classes = [torch.as_tensor(np.asarray(labels)).to(train.device, torch.int64)
               for labels in (train_labels, val_labels)]
    if train.shape[1] != val.shape[1] or (len(train), len(val)) != tuple(map(len, classes)):
        raise ValueError(f'features {tuple(train.shape)} and {tuple(val.shape)} with '
                         f'{len(classes[0])} and {len(classes[1])} labels do not match')
    return train, classes[0], val, classes[1]

"""Linear fits, and by folds: what each image is taken for by a fit that never saw it."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clasp_mm.utils.device import pick_device

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
        raise ValueError(f'num_folds={num_folds} must lie in 2 to the number of groups or '
                         f'identities, {len(people)}')
    order = np.random.RandomState(0).permutation(len(people))
    if classes is not None:
        order = order[np.argsort(np.asarray(classes)[first[order]], kind='stable')]
    fold = np.empty(len(people), np.int64)
    fold[order] = np.arange(len(people)) % num_folds
    return fold[number.reshape(-1)]


def fold_classes(features: np.ndarray | Tensor, labels: np.ndarray, fold: np.ndarray, l2: float,
                 max_iter: int = _MAX_ITER) -> np.ndarray:
    """Classes by multinomial logistic regression on the other folds, see :func:`predict_classes`.

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
        found[inside] = predict_classes(rows[known], classes[known], rows[as_numbers(inside)],
                                        number, l2, max_iter).cpu().numpy()
    return found


def fold_attributes(rows: Tensor, labels: np.ndarray, fold: np.ndarray, l2: float,
                    max_iter: int = _MAX_ITER) -> np.ndarray:
    """Probabilities (N, A) by the probe of :func:`.linear.linear_probe_attributes` on other folds.

    ``rows`` are (N, C) features of :func:`as_rows`, ``labels`` (N, A) 1, 0 and -1 for unknown; the
    rest is as of :func:`fold_classes`.
    """
    found = np.empty(labels.shape)
    for part in np.unique(fold):
        inside = fold == part
        found[inside] = predict_attributes(rows[as_numbers(~inside)], labels[~inside],
                                           rows[as_numbers(inside)], l2, max_iter)
    return found


def predict_classes(features: Tensor, classes: Tensor, val_feats: Tensor, number: int, l2: float,
                    max_iter: int) -> Tensor:
    """Class numbers (M,) by multinomial logistic regression on (N, C) features and (N,) classes.

    Channels are standardised by the features; the loss is the mean cross-entropy + l2 / 2 |W|^2.
    """
    mean, scale = standardiser(features)
    weight, bias = fit_linear((features - mean) / scale, number,
                              lambda logits: F.cross_entropy(logits, classes), l2, max_iter)
    return ((val_feats - mean) / scale @ weight + bias).argmax(1)


def predict_attributes(features: Tensor, labels: np.ndarray, val_feats: Tensor, l2: float,
                       max_iter: int) -> np.ndarray:
    """Probabilities (M, A) by a fit on (N, C) features and (N, A) labels."""
    labels = torch.from_numpy(labels).to(features.device)
    positive, negative = (labels == 1).double(), (labels == 0).double()
    both = (positive.sum(dim=0) > 0) & (negative.sum(dim=0) > 0)
    weights = (positive / positive.sum(dim=0).clamp(min=1)
               + negative / negative.sum(dim=0).clamp(min=1)) / 2 * both
    mean, scale = standardiser(features)

    def loss(logits: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, positive, weights, reduction='sum')

    weight, bias = fit_linear((features - mean) / scale, labels.shape[1], loss, l2, max_iter)
    probabilities = ((val_feats - mean) / scale @ weight + bias).sigmoid()
    return torch.where(both, probabilities, (positive.sum(dim=0) > 0).double()).cpu().numpy()


def fit_linear(features: Tensor, num_outputs: int, loss: Callable[[Tensor], Tensor], l2: float,
               max_iter: int) -> tuple[Tensor, Tensor]:
    """Minimise loss(features @ weight + bias) + l2 / 2 |weight|^2 from zero."""
    weight = features.new_zeros(features.shape[1], num_outputs, requires_grad=True)
    bias = features.new_zeros(num_outputs, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=max_iter, history_size=20,
                                  tolerance_grad=1e-6, line_search_fn='strong_wolfe')

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(features @ weight + bias) + l2 / 2 * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(closure)
    return weight.detach(), bias.detach()


def standardiser(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel; 1 for a channel that never changes."""
    mean, deviation = features.mean(dim=0), features.std(dim=0, unbiased=False)
    constant = deviation <= 1e-6 * mean.abs()
    return mean, torch.where(constant, torch.ones_like(deviation), deviation)


def as_rows(name: str, features: np.ndarray | Tensor) -> Tensor:
    """Features (images, channels), finite, in float64 where they are fitted."""
    return finite(name, features, '(images, channels)', 2).to(pick_device(), torch.float64)


def placed(data: Tensor) -> Tensor:
    """Data where it is computed with: as they are on the CPU, in float64 elsewhere."""
    device = pick_device()
    return data.to(device, data.dtype if device.type == 'cpu' else torch.float64)


def as_numbers(chosen: np.ndarray) -> Tensor:
    """Numbers of the chosen rows: a device need not be asked how many there are."""
    return torch.from_numpy(np.flatnonzero(chosen))


def finite(name: str, features: np.ndarray | Tensor, shape: str, ndim: int) -> Tensor:
    """Features of that shape, all of them finite, on the CPU."""
    features = torch.as_tensor(features).detach().cpu()
    if features.ndim != ndim or len(features) == 0:
        raise ValueError(f'{name} must be {shape} with at least one image, got '
                         f'{tuple(features.shape)}')
    if not features.isfinite().all():
        raise ValueError(f'{name} hold values that are not finite')
    return features

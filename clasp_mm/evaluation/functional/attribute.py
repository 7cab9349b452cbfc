"""Label-based and instance-based measures of pedestrian attribute recognition."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clasp_mm.utils.tables import markdown_table, number_or_dash


def attribute_metrics(probabilities: np.ndarray, labels: np.ndarray,
                      threshold: float = 0.5) -> dict[str, Any]:
    """Score attribute predictions, with the definitions of RethinkPAR (arXiv 2107.03576).

    mA is the mean over attributes of (true positive rate + true negative rate) / 2. The instance
    measures compare, image by image, the set predicted with the set annotated: accuracy is their
    intersection over union, precision and recall the intersection over either, each averaged over
    images with 0 / 0 = 0, and F1 is the harmonic mean of the two averages.

    Args:
        probabilities: (N, A); an attribute is predicted where it is above ``threshold``.
        labels: (N, A) of 1, 0 and -1; what is -1 is unknown and counts nowhere.
        threshold: See above.

    Returns:
        In percent: ``mA``, ``accuracy``, ``precision``, ``recall``, ``F1``; ``per_attribute``, a
        dict of (A,) arrays ``mA``, ``tpr``, ``tnr`` (percent) and ``num_positive``,
        ``num_negative``; and ``num_undefined``, how many attributes lack positives or negatives.
        Their rates are NaN and the mean leaves them out; RethinkPAR would take them as 0. An image
        with nothing known is left out of the instance measures. A mean of nothing is NaN.

    Raises:
        ValueError: Shapes differ, a probability is NaN or outside [0, 1], or a label is none of 1,
            0 and -1.

    Example:
        >>> scores = attribute_metrics([[.9, .2], [.3, .8]], [[1, 0], [0, 0]])
        >>> scores['mA'], scores['F1'], scores['num_undefined']  # no image has the second attribute
        (100.0, 50.0, 1)
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    if probabilities.shape != labels.shape or labels.ndim != 2 or labels.size == 0:
        raise ValueError('probabilities and labels must both be (images, attributes) and not '
                         f'empty, got {probabilities.shape} and {labels.shape}')
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError('probabilities must lie in [0, 1]; pass logits through a sigmoid first. '
                         f'Got {np.min(probabilities)} to {np.max(probabilities)}')
    strange = np.setdiff1d(labels, (-1, 0, 1))
    if strange.size:
        raise ValueError(f'labels must be 1, 0 or -1 (unknown), got {strange[:5].tolist()}')
    known, positive = labels >= 0, labels == 1
    predicted = (probabilities > threshold) & known
    hit = predicted & positive

    num_positive = positive.sum(axis=0)
    num_negative = known.sum(axis=0) - num_positive
    true_negative = (known & ~positive & ~predicted).sum(axis=0)
    with np.errstate(invalid='ignore'):
        tpr = hit.sum(axis=0) / num_positive * 100
        tnr = true_negative / num_negative * 100
    balanced = (tpr + tnr) / 2
    undefined = np.isnan(balanced)

    rows = known.any(axis=1)
    common = hit[rows].sum(axis=1)
    accuracy = _mean_share(common, (predicted | positive)[rows].sum(axis=1))
    precision = _mean_share(common, predicted[rows].sum(axis=1))
    recall = _mean_share(common, positive[rows].sum(axis=1))
    return {
        'mA': _mean(balanced[~undefined]),
        'accuracy': accuracy,
        'precision': precision,
        'recall': recall,
        'F1': 2 * precision * recall / max(precision + recall, 1e-20),
        'per_attribute': {'mA': balanced, 'tpr': tpr, 'tnr': tnr,
                          'num_positive': num_positive, 'num_negative': num_negative},
        'num_undefined': int(undefined.sum()),
    }


def attribute_table(result: Mapping[str, Any], names: Sequence) -> str:
    """A line for each attribute, in Markdown; a rate that is not defined is ``-``.

    Args:
        result: Result of :func:`attribute_metrics`.
        names: Names of the A attributes.

    Example:
        >>> print(attribute_table(attribute_metrics([[.9], [.3]], [[1], [0]]), ['hat']))
        | attribute | mA | true positives % | true negatives % | positive | negative |
        |---|---|---|---|---|---|
        | hat | 100.00 | 100.00 | 100.00 | 1 | 1 |
    """
    columns = result['per_attribute']
    return markdown_table(
        ['attribute', 'mA', 'true positives %', 'true negatives %', 'positive', 'negative'],
        [[name, *(number_or_dash(columns[key][index], '.2f') for key in ('mA', 'tpr', 'tnr')),
          columns['num_positive'][index], columns['num_negative'][index]]
         for index, name in enumerate(names)])


def _mean_share(parts: np.ndarray, wholes: np.ndarray) -> float:
    return _mean(parts / np.maximum(wholes, 1)) * 100


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan

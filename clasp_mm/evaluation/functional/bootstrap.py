"""Intervals and paired differences of scores, by the bootstrap."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

_COVERED = (2.5, 97.5)  # percentiles of a 95 % interval


class Tally(NamedTuple):
    """A score that is a function of sums over independent units, such as images or people.

    Attributes:
        sums: (U, F) float, what each unit adds.
        score: Sums (..., F) to scores (...); NaN where they do not define one.
    """

    sums: np.ndarray
    score: Callable[[np.ndarray], np.ndarray]


def draw_units(units: int, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """How often each unit is in each resample, (resamples, units): as many as there are in all."""
    return np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), resamples)


def by_group(sums: np.ndarray, groups: np.ndarray, number: int | None = None) -> np.ndarray:
    """Add rows (N, F) up to one a group of ``number``; ``groups`` (N,) are numbers from 0."""
    total = np.zeros((groups.max() + 1 if number is None else number, sums.shape[1]))
    np.add.at(total, groups, sums)
    return total


def ratio(sums: np.ndarray) -> np.ndarray:
    """First sum over the second, NaN where that is 0."""
    return _quotient(sums[..., 0], sums[..., 1])


def _quotient(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.divide(total, count, where=count > 0, out=np.full(np.shape(total), np.nan))


def precision_sums(precisions: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Sum and number of the queries' average precisions (Q,), NaN left out, a row a group."""
    return by_group(np.stack([np.nan_to_num(precisions), ~np.isnan(precisions)], 1), groups)


def accuracy_sums(found: np.ndarray, positive: np.ndarray, negative: np.ndarray,
                  groups: np.ndarray) -> np.ndarray:
    """What :func:`mean_accuracy` is of, a row a group; all (N, A) bool but ``groups``."""
    return by_group(np.concatenate(
        [found & positive, positive, ~found & negative, negative], 1), groups)


def mean_accuracy(sums: np.ndarray) -> np.ndarray:
    """Mean accuracy (mA) in percent of true positives, positives, true negatives, negatives.

    Attributes without both values are left out; NaN where that leaves none.
    """
    hits, positive, rejected, negative = np.split(sums, 4, -1)
    defined = (positive > 0) & (negative > 0)
    rates = hits / np.maximum(positive, 1) + rejected / np.maximum(negative, 1)
    return 50 * _quotient((rates * defined).sum(-1), defined.sum(-1))


def mean_iou(sums: np.ndarray) -> np.ndarray:
    """Mean IoU in percent of pixels labelled, predicted and right; a class of none is left out."""
    labelled, predicted, right = np.split(sums, 3, -1)
    union = labelled + predicted - right
    return 100 * _quotient((right / np.maximum(union, 1)).sum(-1), (union > 0).sum(-1))


def average_precision(sums: np.ndarray) -> np.ndarray:
    """Average precision in percent of B bins of what was found, surest first: all, right; truths.

    Precision is that at the end of each bin: exact where no bin holds more than one right one.
    """
    found, right = np.split(sums[..., :-1], 2, -1)
    precision = right.cumsum(-1) / np.maximum(found.cumsum(-1), 1)
    return 100 * _quotient((right * precision).sum(-1), sums[..., -1])


class Ranked(NamedTuple):
    """A place in a ranking; intervals are 95 % percentile intervals.

    Attributes:
        index: Which of the tallies.
        score: On all units.
        interval: Interval of the score.
        behind: How far it is behind the best.
        behind_interval: Interval of that difference, both scored on the same resamples.
        tied: Whether that interval reaches zero.
        first: Share of the resamples in which it has the best score.
    """

    index: int
    score: float
    interval: tuple[float, float]
    behind: float
    behind_interval: tuple[float, float]
    tied: bool
    first: float


def rank_scores(tallies: Sequence[Tally], resamples: int = 1000, seed: int = 0) -> list[Ranked]:
    """Rank scores of the same units, highest first, and tell which are tied with the best.

    Units are drawn with replacement, as many as there are, the same for all tallies. A resample
    that does not define all scores is left out.

    Args:
        tallies: All over the same units.
        resamples: How many.
        seed: Seed of the draw.

    Raises:
        ValueError: The numbers of units differ, or a score of all units is not defined.
    """
    sizes = {len(tally.sums) for tally in tallies}
    if len(sizes) != 1:
        raise ValueError(f'tallies must be over the same units, got {sorted(sizes)} of them')
    units = sizes.pop()
    scores = np.array([float(tally.score(tally.sums.sum(0))) for tally in tallies])
    if not np.isfinite(scores).all():
        raise ValueError(f'the score of tally {int(np.argmin(np.isfinite(scores)))} is not defined')
    draws = draw_units(units, resamples, seed)
    sampled = np.stack([tally.score(draws @ tally.sums) for tally in tallies])
    sampled = sampled[:, np.isfinite(sampled).all(0)]
    if not sampled.shape[1]:
        raise ValueError(f'none of {resamples} resamples of {units} units defines every score')

    order = np.argsort(-scores, kind='stable')
    best = order[0]
    winners = sampled == sampled.max(0)
    first = (winners / winners.sum(0)).mean(1)
    ranked = []
    for index in order:
        low, high = np.percentile(sampled[best] - sampled[index], _COVERED)
        ranked.append(Ranked(
            int(index), scores[index], tuple(np.percentile(sampled[index], _COVERED).tolist()),
            scores[best] - scores[index], (float(low), float(high)), bool(low <= 0),
            float(first[index])))
    return ranked

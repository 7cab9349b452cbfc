"""Same person or not: error rates of a similarity, and the threshold for a chosen one."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

_BINS = np.linspace(-1, 1, 101)


@dataclass(frozen=True)
class Verification:
    """How a similarity tells people apart.

    Attributes:
        false_match_rate: What was asked for: share of pairs of different people taken as one.
        threshold: Least similarity at which two images are taken as one person.
        low: Lower end of the threshold's bootstrap interval of 95 %.
        high: Upper end.
        false_non_match_rate: Share of pairs of one person below ``threshold``.
        equal_error_rate: Where both rates are equal.
        num_same: Pairs of one person.
        num_different: Pairs of different people.
        num_people: Identities.
        same: Histogram of the similarities of one person, 100 bins from -1 to 1.
        different: Histogram of different people.
    """

    false_match_rate: float
    threshold: float
    low: float
    high: float
    false_non_match_rate: float
    equal_error_rate: float
    num_same: int
    num_different: int
    num_people: int
    same: list[int]
    different: list[int]

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain data."""
        return asdict(self)


def verify(features: np.ndarray, identities: np.ndarray, false_match_rate: float = 1e-3,
           bootstrap: int = 200, seed: int = 0) -> Verification:
    """Compare all pairs of images by the cosine of their features.

    The interval comes from drawing the identities anew, with repetition: pairs that share a person
    are not independent, so pairs are not drawn.

    Args:
        features: (N, C).
        identities: (N,).
        false_match_rate: Between 0 and 1.
        bootstrap: Number of draws.
        seed: Seed of the draws.

    Raises:
        ValueError: A feature is not finite or zero, there are too few pairs for the rate, or no
            two images of one person.

    Example:
        >>> features = np.repeat(np.eye(4), 2, axis=0)  # two equal images of each of four people
        >>> found = verify(features, np.repeat(np.arange(4), 2), false_match_rate=.1)
        >>> found.false_non_match_rate, found.num_same, found.num_different
        (0.0, 4, 24)
    """
    if not 0 < false_match_rate < 1:
        raise ValueError(f'false_match_rate must lie between 0 and 1, got {false_match_rate}')
    features = np.asarray(features, np.float64)
    norms = np.linalg.norm(features, axis=1)
    if not np.isfinite(norms).all() or (norms == 0).any():
        bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
        raise ValueError(f'{len(bad)} features are not finite or zero, the first in row {bad[0]}')
    features = features / norms[:, None]
    people, number = np.unique(identities, return_inverse=True)
    first, second = np.triu_indices(len(features), 1)
    similarity = np.concatenate([row @ features[at + 1:].T for at, row in enumerate(features)])
    one = number[first] == number[second]
    same, different = similarity[one], similarity[~one]
    if not len(same):
        raise ValueError(f'no two of the {len(features)} images show one person')
    if len(different) * false_match_rate < 1:
        raise ValueError(
            f'a false match rate of {false_match_rate:g} needs {int(np.ceil(1 / false_match_rate))}'
            f' pairs of different people, there are {len(different)}: give more people or raise it')
    order = np.argsort(-different, kind='stable')
    ranked = different[order]
    pairs = number[first[~one]][order], number[second[~one]][order]
    threshold = _threshold(ranked, np.ones(len(ranked)), false_match_rate)
    rng, draws = np.random.default_rng(seed), []
    for _ in range(bootstrap):
        times = np.bincount(rng.integers(len(people), size=len(people)), minlength=len(people))
        weights = times[pairs[0]] * times[pairs[1]]
        if weights.any():
            draws.append(_threshold(ranked, weights, false_match_rate))
    low, high = np.percentile(draws or [threshold], (2.5, 97.5))
    return Verification(
        false_match_rate, threshold, min(float(low), threshold), max(float(high), threshold),
        float((same < threshold).mean()), _equal_error_rate(same, different), len(same),
        len(different), len(people),
        *(np.histogram(values.clip(-1, 1), _BINS)[0].tolist() for values in (same, different)))


def _threshold(ranked: np.ndarray, weights: np.ndarray, rate: float) -> float:
    """Just above the most similar of the pairs that may not match; ``ranked`` is descending."""
    allowed = rate * weights.sum()
    crossing = int(np.searchsorted(np.cumsum(weights), allowed, side='right'))
    return float(np.nextafter(ranked[min(crossing, len(ranked) - 1)], np.inf))


def _equal_error_rate(same: np.ndarray, different: np.ndarray) -> float:
    """Mean of both error rates at the similarity where they are nearest to each other."""
    same, different = np.sort(same), np.sort(different)
    steps = np.concatenate([same, different])
    missed = np.searchsorted(same, steps, side='left') / len(same)
    matched = 1 - np.searchsorted(different, steps, side='left') / len(different)
    at = np.abs(missed - matched).argmin()
    return float((missed[at] + matched[at]) / 2)

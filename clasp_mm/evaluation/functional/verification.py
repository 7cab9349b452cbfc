"""Same person or not: error rates of a similarity, and the threshold for a chosen one."""

from bisect import bisect_left
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

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
    pairs = _Pairs.of(features / norms[:, None], identities)
    same, different, people = pairs.same, pairs.different, len(pairs.sizes)
    if not len(same):
        raise ValueError(f'no two of the {len(features)} images show one person')
    if len(different) * false_match_rate < 1:
        raise ValueError(
            f'a false match rate of {false_match_rate:g} needs {int(np.ceil(1 / false_match_rate))}'
            f' pairs of different people, there are {len(different)}: give more people or raise it')
    top = pairs.most_similar(4 * int(false_match_rate * len(different)) + 100)
    threshold = _threshold(top.similarity, np.ones(len(top.similarity)),
                           false_match_rate * len(different))
    rng, draws = np.random.default_rng(seed), []
    for _ in range(bootstrap):
        times = np.bincount(rng.integers(people, size=people), minlength=people)
        if not (allowed := false_match_rate * pairs.num_different(times)):
            continue
        while True:
            weights = times[top.first] * times[top.second]
            if weights.sum() > allowed or len(weights) == len(different):
                break
            top = pairs.most_similar(4 * len(weights))
        draws.append(_threshold(top.similarity, weights, allowed))
    low, high = np.percentile(draws or [threshold], (2.5, 97.5))
    return Verification(
        false_match_rate, threshold, min(float(low), threshold), max(float(high), threshold),
        float((same < threshold).mean()), _equal_error_rate(same, different), len(same),
        len(different), people,
        *(np.histogram(values.clip(-1, 1), _BINS)[0].tolist() for values in (same, different)))


class _Ranked(NamedTuple):
    """Pairs of different people, the most similar first, and the numbers of both people."""

    similarity: np.ndarray
    first: np.ndarray
    second: np.ndarray


@dataclass(frozen=True)
class _Pairs:
    """Similarities of all pairs of images.

    Attributes:
        sizes: (P,) images of each person.
        same: Of one person.
        different: Of different ones: each person's images with all of the people after, a block
            (own images, images after) for each.
    """

    sizes: np.ndarray
    same: np.ndarray
    different: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, identities: np.ndarray) -> '_Pairs':
        """Compare images (N, C) of unit length."""
        _, number, sizes = np.unique(identities, return_inverse=True, return_counts=True)
        features = features[np.argsort(number, kind='stable')]
        ends = np.cumsum(sizes)
        different = np.empty(int((sizes * (len(features) - ends)).sum()))
        same, filled = [], 0
        for start, end in zip(ends - sizes, ends, strict=True):
            own = features[start:end]
            same.append((own @ own.T)[np.triu_indices(end - start, 1)])
            block = own @ features[end:].T
            different[filled:filled + block.size] = block.ravel()
            filled += block.size
        return cls(sizes, np.concatenate(same), different)

    def num_different(self, times: np.ndarray) -> float:
        """Pairs of different people when each person is there so many times."""
        images = times * self.sizes
        return float(images.sum() ** 2 - (images ** 2).sum()) / 2

    def most_similar(self, count: int) -> _Ranked:
        """So many pairs of different people, or all."""
        count = min(count, len(self.different))
        places = np.argpartition(self.different, -count)[-count:]
        places = places[np.argsort(-self.different[places], kind='stable')]
        ends = np.cumsum(self.sizes)
        after = ends[-1] - ends
        blocks = np.cumsum(self.sizes * after)
        first = np.searchsorted(blocks, places, side='right')
        inside = places - blocks[first] + (self.sizes * after)[first]
        second = np.searchsorted(ends, ends[first] + inside % after[first], side='right')
        return _Ranked(self.different[places], first, second)


def _threshold(ranked: np.ndarray, weights: np.ndarray, allowed: float) -> float:
    """Just above the most similar of the pairs that may not match; ``ranked`` is descending."""
    crossing = int(np.searchsorted(np.cumsum(weights), allowed, side='right'))
    return float(np.nextafter(ranked[min(crossing, len(ranked) - 1)], np.inf))


def _equal_error_rate(same: np.ndarray, different: np.ndarray) -> float:
    """Mean of both error rates at the similarity where they are nearest to each other."""
    same, different = np.sort(same), np.sort(different)

    def rates(step: float) -> tuple[float, float]:
        return (np.searchsorted(same, step) / len(same),
                1 - np.searchsorted(different, step) / len(different))

    found = []
    for steps in (same, different):  # the first rate rises with the steps, the second falls
        crossing = bisect_left(steps, 0, key=lambda step: np.subtract(*rates(step)))
        found += [rates(step) for step in steps[max(crossing - 1, 0):crossing + 1]]
    return float(np.mean(min(found, key=lambda both: abs(both[0] - both[1]))))

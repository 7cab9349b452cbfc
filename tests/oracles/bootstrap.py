"""The bootstrap, a resample at a time, unit by unit."""

import numpy as np


def percentile(values, q):
    """With linear interpolation between the sorted values."""
    values = sorted(values)
    place = q / 100 * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (place - low) * (values[high] - values[low])


def bootstrap(units, statistic, resamples, seed):
    """Statistic of each resample; ``units[c][i]`` is what candidate c has of unit i.

    Returns:
        A list for each candidate; resamples in which one is None are left out of all.
    """
    number = len(units[0])
    draws = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), resamples)
    kept = []
    for counts in draws:
        chosen = [i for i, count in enumerate(counts) for _ in range(count)]
        scores = [statistic([own[i] for i in chosen]) for own in units]
        if None not in scores:
            kept.append(scores)
    return [list(column) for column in zip(*kept, strict=True)]

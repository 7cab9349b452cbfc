"""Error rates of a similarity by loops over all pairs."""

import numpy as np


def pairs(features, identities):
    same, different = [], []
    for i in range(len(features)):
        for j in range(i):
            a, b = np.asarray(features[i], float), np.asarray(features[j], float)
            cosine = a @ b / np.sqrt(a @ a) / np.sqrt(b @ b)
            (same if identities[i] == identities[j] else different).append(cosine)
    return same, different


def equal_error_rate(same, different):
    best = None
    for threshold in [*same, *different]:
        missed = sum(s < threshold for s in same) / len(same)
        matched = sum(d >= threshold for d in different) / len(different)
        if best is None or abs(missed - matched) < abs(best[0] - best[1]) - 1e-12:
            best = missed, matched
    return best

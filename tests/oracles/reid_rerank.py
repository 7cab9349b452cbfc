"""k-reciprocal re-ranking with sets and full matrices, after the equations of the paper."""

import math

import numpy as np


def rerank(query_features, gallery_features, k1, k2, lambda_value):
    features = np.concatenate([query_features, gallery_features]).astype(np.float64)
    total, queries = len(features), len(query_features)
    original = np.array([[sum((a - b) ** 2 for a, b in zip(p, g, strict=True))
                          for g in features] for p in features])
    original = original / original.max(axis=1, keepdims=True)
    ranked = [sorted(range(total), key=lambda g: (original[p][g], g)) for p in range(total)]

    def nearest(p, k):
        return ranked[p][:k + 1]  # itself and k others

    def reciprocal(p, k):  # equation 3
        return {g for g in nearest(p, k) if p in nearest(g, k)}

    def expanded(p):  # equation 5
        result = set(reciprocal(p, k1))
        for q in reciprocal(p, k1):
            theirs = reciprocal(q, round(k1 / 2))
            if len(theirs & reciprocal(p, k1)) > 2 / 3 * len(theirs):
                result |= theirs
        return result

    encoding = np.zeros((total, total))  # equation 7, at sum 1
    for p in range(total):
        for g in expanded(p):
            encoding[p][g] = math.exp(-original[p][g])
        encoding[p] /= encoding[p].sum()
    if k2 > 1:  # equation 11
        encoding = np.array([np.mean([encoding[g] for g in ranked[p][:k2]], axis=0)
                             for p in range(total)])
    final = np.zeros((queries, total - queries))
    for p in range(queries):
        for g in range(queries, total):
            smaller = sum(min(a, b) for a, b in zip(encoding[p], encoding[g], strict=True))
            larger = sum(max(a, b) for a, b in zip(encoding[p], encoding[g], strict=True))
            final[p, g - queries] = ((1 - lambda_value) * (1 - smaller / larger)
                                     + lambda_value * original[p][g])
    return final

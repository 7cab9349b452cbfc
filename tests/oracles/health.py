"""Health statistics, spelled out."""

import math

import numpy as np


def effective_rank(features: np.ndarray) -> float:
    """By the eigenvalues of the Gram matrix of the unit rows."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    eigenvalues = np.linalg.eigvalsh(unit.astype(np.float64) @ unit.T.astype(np.float64))
    values = [math.sqrt(max(value, 0)) for value in eigenvalues]
    shares = [value / sum(values) for value in values]
    return math.exp(-sum(share * math.log(share) for share in shares if share > 0))


def information(targets: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence of the targets from their mean, in nats."""
    mean = targets.mean(axis=0)
    total = 0.0
    for row in targets:
        for p, q in zip(row, mean, strict=True):
            if p > 0:
                total += p * math.log(p / q)
    return total / len(targets)

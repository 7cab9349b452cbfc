"""Slow references for the clusterings of clasp_mm.pseudo_labels."""

import itertools

import numpy as np


def split_scalars(values: np.ndarray) -> np.ndarray:
    """Best 2-means of scalars among all thresholds; True for the larger cluster."""
    best, answer = np.inf, np.zeros(len(values), dtype=bool)
    for threshold in sorted(set(values.tolist()))[1:]:
        upper = values >= threshold
        cost = sum(((part - part.mean()) ** 2).sum() for part in (values[upper], values[~upper]))
        if cost < best - 1e-12:
            best, answer = cost, upper
    return answer


def lloyd(points: np.ndarray, labels: np.ndarray, k: int, max_iter: int = 100) -> np.ndarray:
    """Lloyd's algorithm with explicit centres; a cluster that is empty stays so."""
    labels = labels.copy()
    for _ in range(max_iter):
        centres = np.full((k, points.shape[1]), np.inf)
        for cluster in range(k):
            if (labels == cluster).any():
                centres[cluster] = points[labels == cluster].mean(axis=0)
        distances = ((points[:, None] - centres[None]) ** 2).sum(axis=-1)
        new = distances.argmin(axis=1)
        if (new == labels).all():
            break
        labels = new
    return labels


def inertia(points: np.ndarray, labels: np.ndarray) -> float:
    """Sum of squared distances to the mean of the own cluster; labels < 0 are left out."""
    return sum(((points[labels == label] - points[labels == label].mean(axis=0)) ** 2).sum()
               for label in set(labels[labels >= 0].tolist()))


def best_partition(points: np.ndarray, k: int) -> float:
    """Least inertia over every partition into at most k clusters; for a handful of points."""
    return min(inertia(points, np.array(labels))
               for labels in itertools.product(range(k), repeat=len(points)))

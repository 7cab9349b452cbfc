"""Ridge regression and keypoint probe, as their formulas read."""

import numpy as np


def ridge(features, targets, l2):
    """Least squares of standardised features, by one dense solve over stacked rows."""
    mean, deviation = features.mean(0), features.std(0)
    deviation = np.where(deviation > 0, deviation, 1)
    x = (features - mean) / deviation
    y = targets - targets.mean(0)
    rows, columns = x.shape
    # |xW - y|^2 / N + l2 |W|^2 is an ordinary least squares with C more rows.
    stacked = np.concatenate([x / np.sqrt(rows), np.sqrt(l2) * np.eye(columns)])
    wanted = np.concatenate([y / np.sqrt(rows), np.zeros((columns, y.shape[1]))])
    weight = np.linalg.lstsq(stacked, wanted, rcond=None)[0] / deviation[:, None]
    return weight, targets.mean(0) - mean @ weight


def gaussian(x, y, rows, columns, sigma):
    """One bump, cell by cell."""
    return np.array([[np.exp(-((column + .5 - x) ** 2 + (row + .5 - y) ** 2) / (2 * sigma ** 2))
                      for column in range(columns)] for row in range(rows)])

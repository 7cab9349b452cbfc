"""Losses of re-identification by plain loops, in values and, by hand, in gradients."""

import math

import numpy as np


def batch_hard_triplet(features, labels):
    """Mean soft-margin loss, and its gradient by each feature."""
    features = np.asarray(features, np.float64)
    number = len(features)
    total, gradient = 0., np.zeros_like(features)
    for i in range(number):
        hard_p, hard_n = None, None
        for j in range(number):
            distance = math.sqrt(sum((a - b) ** 2
                                     for a, b in zip(features[i], features[j], strict=True)))
            if labels[j] == labels[i] and (hard_p is None or distance > hard_p[0]):
                hard_p = distance, j
            if labels[j] != labels[i] and (hard_n is None or distance < hard_n[0]):
                hard_n = distance, j
        total += math.log(1 + math.exp(hard_p[0] - hard_n[0])) / number
        slope = 1 / (1 + math.exp(hard_n[0] - hard_p[0])) / number
        for sign, (distance, j) in ((1, hard_p), (-1, hard_n)):
            if distance > 0:
                towards = sign * slope * (features[i] - features[j]) / distance
                gradient[i] += towards
                gradient[j] -= towards
    return total, gradient


def smoothed_cross_entropy(logits, labels, smoothing):
    """Mean over the rows of - sum_c q_c log p_c with q = (1 - s) onehot + s / C."""
    losses = []
    for row, label in zip(np.asarray(logits, np.float64), labels, strict=True):
        total = math.log(sum(math.exp(value) for value in row))
        losses.append(-sum(
            ((1 - smoothing) * (c == label) + smoothing / len(row)) * (value - total)
            for c, value in enumerate(row)))
    return sum(losses) / len(losses)


def bnneck(features, weight, eps=1e-5):
    """Batch norm of training without a shift: biased variance over the batch."""
    features = np.asarray(features, np.float64)
    result = np.zeros_like(features)
    for c in range(features.shape[1]):
        column = features[:, c]
        mean = sum(column) / len(column)
        variance = sum((value - mean) ** 2 for value in column) / len(column)
        result[:, c] = weight[c] * (column - mean) / math.sqrt(variance + eps)
    return result

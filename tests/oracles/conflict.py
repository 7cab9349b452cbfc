"""Measures of task conflict, spelled out."""

import math


def gcr(gradients):
    """Task -> layer -> list of numbers."""
    tasks, apart, pairs = list(gradients), 0, 0
    for i in range(len(tasks)):
        for j in range(i + 1, len(tasks)):
            for layer in gradients[tasks[i]]:
                a, b = gradients[tasks[i]][layer], gradients[tasks[j]].get(layer)
                if b is None or not any(a) or not any(b):
                    continue
                dot = sum(x * y for x, y in zip(a, b, strict=True))
                length = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
                pairs += 1
                apart += dot / length < 0
    return apart / pairs


def divergence(first, second):
    """Of the experts of two tasks in a stage."""
    overlap = 0.
    for x, y in zip(first, second, strict=True):
        overlap += min(x / sum(first), y / sum(second))
    return 1 - overlap


def ead(use):
    """Nested lists [task][stage][expert]."""
    values = []
    for a in range(len(use)):
        for b in range(a + 1, len(use)):
            for first, second in zip(use[a], use[b], strict=True):
                values.append(divergence(first, second))
    return sum(values) / len(values)


def harmonic(a, b):
    return 2 / (1 / a + 1 / b)

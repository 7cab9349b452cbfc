"""RethinkPAR's loss entry by entry, with its gradient worked out by hand."""

import math


def attribute_loss(logits, labels, ratios):
    """Nested lists (B, A), (B, A), (A,) -> mean over images, and its gradient (B, A)."""
    total, gradient = 0.0, []
    for image, (xs, ys) in enumerate(zip(logits, labels, strict=True)):
        gradient.append([])
        for x, y, r in zip(xs, ys, ratios, strict=True):
            p = 1 / (1 + math.exp(-x))
            if y == 1:
                weight = math.exp(1 - r)
                total -= weight * math.log(p)
                slope = weight * (p - 1)
            elif y == 0:
                weight = math.exp(r)
                total -= weight * math.log(1 - p)
                slope = weight * p
            else:
                slope = 0.0
            gradient[image].append(slope / len(logits))
    return total / len(logits), gradient

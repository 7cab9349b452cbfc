"""Edges and losses of human parsing, pixel by pixel."""

import math


def edges(label, width=3, ignore=255):
    """label: rows of ints -> rows of 1 and 0."""
    h, w = len(label), len(label[0])
    marked = set()
    for y in range(h):
        for x in range(w):
            # the pixel that is marked, and its neighbour
            for ny, nx in ((y - 1, x), (y, x + 1), (y + 1, x + 1), (y + 1, x - 1)):
                if 0 <= ny < h and 0 <= nx < w and label[y][x] != label[ny][nx] and ignore not in (
                        label[y][x], label[ny][nx]):
                    marked.add((y, x))
    reach = width // 2
    return [[int(any((y + dy, x + dx) in marked for dy in range(-reach, reach + 1)
                     for dx in range(-reach, reach + 1)))
             for x in range(w)] for y in range(h)]


def balanced_edge_loss(logits, edges):
    """SCHP's form: every class weighs the other's share, and the mean is a weighted one.

    logits (B, 2, H, W) and edges (B, H, W) as nested lists.
    """
    flat = [(yes - no, e) for (off, on), truth in zip(logits, edges, strict=True)
            for *rows, true_row in zip(off, on, truth, strict=True)
            for no, yes, e in zip(*rows, true_row, strict=True)]
    positive = sum(e for _, e in flat)
    weights = {1: (len(flat) - positive) / len(flat), 0: positive / len(flat)}
    loss = sum(weights[e] * math.log(1 + math.exp(-z if e else z)) for z, e in flat)
    return loss / sum(weights[e] for _, e in flat)


def cross_entropy(logits, label, target=None):
    """logits (B, C, H, W), label (B, H, W), target (B, C, H, W) as nested lists."""
    total = count = 0
    for b, image in enumerate(label):
        for y, row in enumerate(image):
            for x, value in enumerate(row):
                if value == 255:
                    continue
                z = [plane[y][x] for plane in logits[b]]
                norm = math.log(sum(math.exp(v) for v in z))
                log_p = [v - norm for v in z]
                if target is None:
                    total -= log_p[value]
                else:
                    t = [plane[y][x] for plane in target[b]]
                    total += sum(q * (math.log(q) - p) for q, p in zip(t, log_p, strict=True) if q)
                count += 1
    return total / max(count, 1)


def refine(label, logits, cycle):
    """One pixel: label an int, logits a list."""
    mixed = [math.exp((cycle * z + (c == label % 255)) / (cycle + 1))
             for c, z in enumerate(logits)]
    return [value / sum(mixed) for value in mixed]


def moving_average(weights):
    """SCHP's running average: weights of the models at the end of cycle 0, 1, ..."""
    average = 0.
    for cycle, weight in enumerate(weights):
        average = (1 - 1 / (cycle + 1)) * average + weight / (cycle + 1)
    return average


def learning_rate(epoch, base=7e-3, warm_up=30, start=120, cycle=10, floor=500):
    """SOLIDER's schedule of SCHP: a line from the floor, cosine to ``start``, cycles from half."""
    floor = base / floor
    if epoch < warm_up:
        return floor + (base - floor) * epoch / warm_up
    if epoch < start:
        return floor + (base - floor) * (1 + math.cos(
            math.pi * (epoch - warm_up) / (start - warm_up))) / 2
    return floor + (base / 2 - floor) * (1 + math.cos(math.pi * ((epoch - start) % cycle) / cycle)
                                         ) / 2

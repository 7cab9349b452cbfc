"""Operators of mmcv.ops that have no compiled form on the CPU, one number at a time."""

import math


def at(plane, y, x):
    """Bilinear value of a plane at (y, x), cells at whole numbers, 0 outside."""
    top, left = math.floor(y), math.floor(x)
    value = 0.
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < len(plane) and 0 <= column < len(plane[0]):
                value += plane[row][column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return value


def masked_convolution(image, mask, weight, bias, pad):
    """[o][y][x], for image [c][y][x]: 0 where the mask is not above 0."""
    height, width = len(mask), len(mask[0])
    out = [[[0.] * width for _ in range(height)] for _ in weight]
    for y in range(height):
        for x in range(width):
            if mask[y][x] <= 0:
                continue
            for o, kernels in enumerate(weight):
                total = bias[o]
                for plane, kernel in zip(image, kernels, strict=True):
                    for i, row in enumerate(kernel):
                        for j, factor in enumerate(row):
                            if 0 <= y + i - pad < height and 0 <= x + j - pad < width:
                                total += plane[y + i - pad][x + j - pad] * factor
                out[o][y][x] = total
    return out


def carafe(features, masks, size, groups, scale):
    """[c][y][x], for features [c][y][x] and masks [groups size size][y][x]."""
    channels, height, width = len(features), len(features[0]), len(features[0][0])
    out = [[[0.] * (width * scale) for _ in range(height * scale)] for _ in range(channels)]
    for c in range(channels):
        group = c // (channels // groups)
        for y in range(height * scale):
            for x in range(width * scale):
                for i in range(size):
                    for j in range(size):
                        row, column = y // scale + i - size // 2, x // scale + j - size // 2
                        if 0 <= row < height and 0 <= column < width:
                            weight = masks[(group * size + i) * size + j][y][x]
                            out[c][y][x] += features[c][row][column] * weight
    return out


def deformable_attention(value, shapes, locations, weights):
    """[query][head c] of one sample: value [cell][head][c], locations [query][head][map][point]."""
    heads, channels = len(value[0]), len(value[0][0])
    out = []
    for query, query_weights in zip(locations, weights, strict=True):
        row = []
        for head in range(heads):
            for c in range(channels):
                total, start = 0., 0
                for level, (height, width) in enumerate(shapes):
                    plane = [[value[start + y * width + x][head][c] for x in range(width)]
                             for y in range(height)]
                    start += height * width
                    for (x, y), weight in zip(query[head][level], query_weights[head][level],
                                              strict=True):
                        total += weight * at(plane, y * height - 0.5, x * width - 0.5)
                row.append(total)
        out.append(row)
    return out


def sigmoid_focal(logits, target, weight, gamma, alpha):
    """[n][c]."""
    out = []
    for row, wanted in zip(logits, target, strict=True):
        factor = weight[wanted] if weight and 0 <= wanted < len(weight) else 1.
        losses = []
        for c, logit in enumerate(row):
            p = 1 / (1 + math.exp(-logit))
            if c == wanted:
                loss = -alpha * (1 - p)**gamma * math.log(p)
            else:
                loss = -(1 - alpha) * p**gamma * math.log(1 - p)
            losses.append(loss * factor)
        out.append(losses)
    return out


def softmax_focal(logits, target, weight, gamma, alpha):
    """[n]."""
    out = []
    for row, wanted in zip(logits, target, strict=True):
        if wanted < 0:
            out.append(0.)
            continue
        p = math.exp(row[wanted]) / sum(map(math.exp, row))
        out.append(-alpha * (1 - p)**gamma * math.log(p) * (weight[wanted] if weight else 1.))
    return out

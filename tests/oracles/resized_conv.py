"""Bilinear interpolation, then a convolution, a cell at a time."""

import math


def resize(image, height, width, align_corners=False):
    """One channel as lists of rows."""
    def place(i, small, large):
        if align_corners:
            at = i * (small - 1) / (large - 1) if large > 1 else 0.
        else:
            at = max((i + .5) * small / large - .5, 0.)
        low = min(math.floor(at), small - 1)
        return low, min(low + 1, small - 1), at - low
    out = []
    for i in range(height):
        above, below, down = place(i, len(image), height)
        row = []
        for j in range(width):
            left, right, across = place(j, len(image[0]), width)
            top, bottom = ((1 - across) * image[y][left] + across * image[y][right]
                           for y in (above, below))
            row.append((1 - down) * top + down * bottom)
        out.append(row)
    return out


def conv(channels, kernel, bias):
    """Channels of equal size with zeros around, by a kernel (outputs, channels, k, k)."""
    height, width, half = len(channels[0]), len(channels[0][0]), len(kernel[0][0]) // 2
    return [[[value + sum(
        taps[i][j] * channel[y + i - half][x + j - half]
        for taps, channel in zip(filters, channels, strict=True)
        for i in range(len(taps)) for j in range(len(taps))
        if 0 <= y + i - half < height and 0 <= x + j - half < width)
        for x in range(width)] for y in range(height)]
        for filters, value in zip(kernel, bias, strict=True)]

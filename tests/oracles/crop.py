"""Where a view's label comes from, cell by cell in exact fractions."""

from fractions import Fraction
from math import floor

import numpy as np


def move_map(part_map, image_size, box, flip, map_size):
    top, left, height, width = box
    moved = np.empty(map_size, part_map.dtype)
    for row in range(map_size[0]):
        for column in range(map_size[1]):
            across = map_size[1] - 1 - column if flip else column
            y = top + Fraction(2 * row + 1, 2 * map_size[0]) * height
            x = left + Fraction(2 * across + 1, 2 * map_size[1]) * width
            moved[row, column] = part_map[floor(y * part_map.shape[0] / image_size[0]),
                                          floor(x * part_map.shape[1] / image_size[1])]
    return moved

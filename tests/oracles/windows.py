"""Shifted windows as Swin has them: zero-pad the map, roll it, cut it, one token at a time."""

from torch import Tensor


def window_positions(height: int, width: int, window: int, shift: int
                     ) -> tuple[list[list[int | None]], list[list[tuple[int, int]]]]:
    """Token (or None: padding) and region at each position of each window, window by window.

    Two positions may see each other if no border of the map lies between them, that is if rolling
    brought both, or neither, from the other end, in each direction.
    """
    padded_h, padded_w = -(-height // window) * window, -(-width // window) * window
    tokens, regions = [], []
    for top in range(0, padded_h, window):
        for left in range(0, padded_w, window):
            inside, region = [], []
            for y in range(top, top + window):
                for x in range(left, left + window):
                    source_y, source_x = (y + shift) % padded_h, (x + shift) % padded_w
                    real = source_y < height and source_x < width
                    inside.append(source_y * width + source_x if real else None)
                    region.append((y + shift >= padded_h, x + shift >= padded_w))
            tokens.append(inside)
            regions.append(region)
    return tokens, regions


def to_windows(x: Tensor, padding: Tensor, tokens: list[list[int | None]]) -> Tensor:
    """(H * W, D) to (nW, N, D), with the row ``padding`` (D,) at padding, by assignment."""
    out = x.new_zeros(len(tokens), len(tokens[0]), x.shape[1])
    for number, window in enumerate(tokens):
        for place, token in enumerate(window):
            out[number, place] = padding if token is None else x[token]
    return out

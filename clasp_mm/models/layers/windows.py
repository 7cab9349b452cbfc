"""Tokens of a map to shifted windows and back (Swin, arXiv 2103.14030, section 3.2).

Each token lies at one place of one window, so that either way's gradient is the other way's
gather: nothing is added up in an order that the device chooses.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from clasp_mm.compat import is_compiling

from .cpu import is_transformed
from .relative_bias import row_width


class WindowLayout(NamedTuple):
    """Where the tokens of an (H, W) map lie among its shifted windows.

    A row of a token may be cut into P parts, all first parts then precede all second ones.

    Attributes:
        gather: (S,) int64, the token at each of S = nW * N window positions; H * W marks padding.
        scatter: (H * W,) int64, the window position of each token.
        holes: (S - H * W,) int64, the positions of padding; None where there is none.
        mask: (nW, N, W) bool, which pairs of positions must not see each other; None without shift.
            Columns from N to W = :func:`~.relative_bias.row_width` are empty.
        tokens: (S,) int64, as ``gather``, but some token in place of padding.
        parts: (P * S,) int64, the part of a token at each place, token * P + part.
        places: (H * W * P,) int64, the inverse.
    """

    gather: Tensor
    scatter: Tensor
    holes: Tensor | None
    mask: Tensor | None
    tokens: Tensor
    parts: Tensor
    places: Tensor


def _build_layout(height: int, width: int, window: int, shift: int, device: torch.device,
                  window_last: bool) -> WindowLayout:
    rows, cols = -(-height // window), -(-width // window)
    padded_h, padded_w = rows * window, cols * window
    size, number = window * window, rows * cols

    def to_windows(grid: Tensor) -> Tensor:
        grid = grid.reshape(rows, window, cols, window)
        return grid.permute(0, 2, 1, 3).reshape(number, size)

    # Slices and views alone: torch.compile's code for the CPU fails on indices by // of %.
    number_of = torch.arange(number * size, device=device)
    if window_last:
        place = number_of.view(window, window, rows, cols).permute(2, 0, 3, 1)
    else:
        place = number_of.view(rows, cols, window, window).permute(0, 2, 1, 3)
    place = _moved(place.reshape(padded_h, padded_w), padded_h - shift, padded_w - shift)

    y, x = torch.arange(padded_h, device=device), torch.arange(padded_w, device=device)
    token = torch.arange(height * width, device=device).view(height, width)
    token = F.pad(token, (0, padded_w - width, 0, padded_h - height), value=height * width)
    gather = to_windows(_moved(token, shift, shift))
    gather = (gather.T if window_last else gather).flatten()
    holes = None
    if number * size > height * width:
        holes = torch.cat([place[:height, width:].flatten(), place[height:].flatten()])

    mask = None
    if shift:
        # Rolled positions whose sources were not neighbours carry different region numbers.
        region_y = (y >= padded_h - window).long() + (y >= padded_h - shift).long()
        region_x = (x >= padded_w - window).long() + (x >= padded_w - shift).long()
        region = to_windows(region_y[:, None] * 3 + region_x[None])
        mask = F.pad(region[:, :, None] != region[:, None, :], (0, row_width(size, device) - size))
    scatter = place[:height, :width].flatten()
    tokens = gather if holes is None else gather.clamp(max=height * width - 1)
    if not window_last:
        return WindowLayout(gather, scatter, holes, mask, tokens, tokens, scatter)
    part = torch.arange(3, device=device)
    return WindowLayout(gather, scatter, holes, mask, tokens,
                        (tokens * 3 + part[:, None]).flatten(),
                        (part * (number * size) + scatter[:, None]).flatten())


def _moved(grid: Tensor, up: int, left: int) -> Tensor:
    """The grid with its first rows and columns behind the last."""
    grid = torch.cat([grid[up:], grid[:up]])
    return torch.cat([grid[:, left:], grid[:, :left]], 1)


_LAYOUTS: dict[tuple, WindowLayout] = {}
_MAX_BYTES = 64 * 2**20


def window_layout(height: int, width: int, window: int, shift: int, device: torch.device,
                  window_last: bool = False) -> WindowLayout:
    """Layout of an (H, W) map in windows of ``window`` x ``window`` tokens, moved by ``shift``.

    In eager mode layouts are kept for reuse, at most 64 MiB of them, those used last; while
    compiling, exporting or tracing they are part of the graph instead.

    Args:
        height: H.
        width: W.
        window: Side of a window, in tokens.
        shift: Tokens by which the windows are moved to the lower right.
        device: Where the tensors lie.
        window_last: Whether position i of window j is place i * nW + j, in P = 3 parts, and not
            j * N + i in one.

    Example:
        >>> window_layout(2, 4, window=2, shift=0, device=torch.device('cpu')).gather.tolist()
        [0, 1, 4, 5, 2, 3, 6, 7]
    """
    if is_compiling() or torch.jit.is_tracing():
        return _build_layout(height, width, window, shift, device, window_last)
    key = (height, width, window, shift, device, window_last)
    layout = _LAYOUTS.pop(key, None)
    if layout is None:
        with torch.inference_mode(False):  # a kept inference tensor could not be trained with
            layout = _build_layout(height, width, window, shift, device, window_last)
        if type(layout.gather) is not Tensor:  # a fake one
            return layout
        room = _MAX_BYTES - _bytes(layout)
        while _LAYOUTS and sum(map(_bytes, _LAYOUTS.values())) > room:
            del _LAYOUTS[next(iter(_LAYOUTS))]
        if room < 0:
            return layout
    _LAYOUTS[key] = layout  # the last used is the last
    return layout


def _bytes(layout: WindowLayout) -> int:
    own = {id(x): x for x in layout if x is not None}.values()
    return sum(x.numel() * x.element_size() for x in own)


def to_windows(x: Tensor, padding: Tensor | None, layout: WindowLayout) -> Tensor:
    """The parts of rows of tokens at their window positions.

    Args:
        x: (B, H * W, D).
        padding: (D,), the row of every padding position; None where there is none.
        layout: Layout of the map.

    Returns:
        (B, P, S, D / P).
    """
    number = layout.places.shape[0] // layout.scatter.shape[0]
    x = x.reshape(x.shape[0], -1, x.shape[2] // number)
    if (is_transformed() or torch.jit.is_tracing()
            or (is_compiling() and not torch.is_grad_enabled())):
        # In operators that exporters and function transforms know.
        index = layout.gather * number + torch.arange(number, device=x.device)[:, None]
        if layout.holes is not None:
            row = padding.to(x.dtype).view(1, number, -1)
            x = torch.cat([x, row.expand(x.shape[0], -1, -1)], 1)
        return x.index_select(1, index.flatten()).view(x.shape[0], number, -1, x.shape[2])
    if layout.holes is not None:
        padding = padding.view(number, 1, -1)
    if not torch.is_grad_enabled():
        return _to_windows(x, padding, number, layout.parts, layout.holes)
    return _ToWindows.apply(x, padding, number, layout.parts, layout.places, layout.holes)


def from_windows(x: Tensor, layout: WindowLayout) -> Tensor:
    """Rows at their window positions (B, S, D) to those of the tokens, (B, H * W, D)."""
    if not torch.is_grad_enabled() or torch.jit.is_tracing() or is_transformed():
        return x.index_select(1, layout.scatter)
    return _FromWindows.apply(x, layout.tokens, layout.scatter, layout.holes)


def _to_windows(x: Tensor, padding: Tensor | None, number: int, parts: Tensor,
                holes: Tensor | None) -> Tensor:
    """(B, R, D) to (B, P, S, D), with padding (P, 1, D) or zeros in the holes."""
    out = x.index_select(1, parts).view(x.shape[0], number, -1, x.shape[2])
    if holes is None:
        return out
    if padding is None:
        return out.index_fill_(2, holes, 0)
    padding = padding.to(out.dtype).expand(*out.shape[:2], holes.shape[0], -1)
    return out.index_copy_(2, holes, padding)


class _ToWindows(torch.autograd.Function):
    """A token's gradient is gathered from its place, that of the padding summed over the holes."""

    @staticmethod
    def forward(ctx, x: Tensor, padding: Tensor | None, number: int, parts: Tensor,
                places: Tensor, holes: Tensor | None) -> Tensor:
        ctx.save_for_backward(places, holes)
        ctx.dtype = None if padding is None else padding.dtype
        return _to_windows(x, padding, number, parts, holes)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        places, holes = ctx.saved_tensors
        for_x, for_padding = ctx.needs_input_grad[:2]
        padding = None
        if for_padding and holes is not None:
            padding = grad.index_select(2, holes).sum((0, 2), dtype=ctx.dtype)[:, None]
        x = grad.flatten(1, 2).index_select(1, places) if for_x else None
        return x, padding, None, None, None, None


class _FromWindows(torch.autograd.Function):
    """The gradient of a window's row is that of its token, or 0 at padding."""

    @staticmethod
    def forward(ctx, x: Tensor, tokens: Tensor, scatter: Tensor, holes: Tensor | None) -> Tensor:
        ctx.save_for_backward(tokens, holes)
        return x.index_select(1, scatter)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        tokens, holes = ctx.saved_tensors
        return _to_windows(grad, None, 1, tokens, holes).squeeze(1), None, None, None

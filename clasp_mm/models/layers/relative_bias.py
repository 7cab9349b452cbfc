"""Relative-position bias of window attention (Swin, arXiv 2103.14030, section 3.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from clasp_mm.compat import is_compiling

from .cpu import is_transformed

_MASK_VALUE = -1e4  # exp() of it is exactly 0: no leak, and no denormals that slow the CPU down


def relative_position_index(window: int, device: torch.device | None = None) -> Tensor:
    """Row of the bias table for each pair of window positions, (N, N) int64, N = window^2."""
    position = torch.arange(window, device=device)
    delta = position[:, None] - position[None] + window - 1
    index = delta[:, None, :, None] * (2 * window - 1) + delta[None, :, None, :]
    return index.reshape(window * window, window * window)


def resize_bias_table(table: Tensor, window: int) -> Tensor:
    """Bicubic change of a relative-position bias table to another window size.

    Args:
        table: ((2 w - 1)^2, num_heads), of a square window w.
        window: The new window size.

    Returns:
        ((2 window - 1)^2, num_heads), in the dtype of ``table``.

    Raises:
        ValueError: If the table has no square number of rows.

    Example:
        >>> resize_bias_table(torch.zeros(13 * 13, 2), window=12).shape
        torch.Size([529, 2])
    """
    side = round(table.shape[0]**0.5)
    if side * side != table.shape[0]:
        raise ValueError(
            f'a relative-position table of {table.shape[0]} rows belongs to no square window')
    grid = table.detach().float().T.reshape(1, -1, side, side)
    grid = F.interpolate(grid, size=2 * window - 1, mode='bicubic', align_corners=False)
    return grid.flatten(2)[0].T.contiguous().to(table.dtype)


def row_width(size: int, device: torch.device) -> int:
    """Elements from one row of ``size`` biases to the next.

    The fused kernels of GPUs need a multiple of sixteen, newer ones of eight, and would copy others
    at every call.
    """
    return size if device.type == 'cpu' else -(-size // 16) * 16


def relative_bias(table: Tensor, window: int, mask: Tensor | None = None,
                  dtype: torch.dtype | None = None, batch: int | None = None) -> Tensor:
    """What is added to the attention logits.

    Args:
        table: ((2 window - 1)^2, num_heads).
        window: Side of the window, in tokens.
        mask: (nW, N, W) bool, pairs of positions that must not see each other, and no more in the
            columns from N to W = :func:`row_width`.
        dtype: Type of the result; that of ``table`` by default.
        batch: Give out so many, all in the same memory.

    Returns:
        (batch, nW * num_heads, N, N), without ``batch`` (nW, num_heads, N, N). nW is 1 without a
        mask.
    """
    index, pairs = _index(window, table.device)
    dtype = dtype or table.dtype
    if is_transformed() or torch.jit.is_tracing() or not torch.is_grad_enabled():
        return _bias(table, index, mask, dtype, batch)
    return _RelativeBias.apply(table, index, pairs, mask, dtype, batch)


def _bias(table: Tensor, index: Tensor, mask: Tensor | None, dtype: torch.dtype,
          batch: int | None) -> Tensor:
    size, width = index.shape
    out = table.T.to(dtype).index_select(1, index.flatten()).view(1, -1, size, width)
    if mask is not None:
        out = torch.add(out, mask[:, None], alpha=_MASK_VALUE)
    if width > size:
        out = out[..., :size]
    return out if batch is None else out.flatten(0, 1).expand(batch, -1, -1, -1)


class _RelativeBias(torch.autograd.Function):
    """The gradient of the table is a product with 0s and 1s: in one order, and in float32."""

    @staticmethod
    def forward(ctx, table: Tensor, index: Tensor, pairs: Tensor, mask: Tensor | None,
                dtype: torch.dtype, batch: int | None) -> Tensor:
        ctx.save_for_backward(pairs)
        ctx.table = table.dtype, table.shape[1]
        return _bias(table, index, mask, dtype, batch)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        pairs, = ctx.saved_tensors
        dtype, heads = ctx.table
        device = 'cpu' if grad.device.type == 'meta' else grad.device.type  # meta has no autocast
        with torch.autocast(device, enabled=False):
            grad = grad.reshape(-1, heads, pairs.shape[1]).sum(0, dtype=dtype)
            return pairs.to(dtype) @ grad.T, None, None, None, None, None


_INDICES: dict[tuple, tuple[Tensor, Tensor]] = {}


def _index(window: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The table's row for each pair of positions, (N, W), and 1 where it is it, (rows, N * N)."""
    kept = None if is_compiling() or torch.jit.is_tracing() else _INDICES.get((window, device))
    if kept is not None:
        return kept
    with torch.inference_mode(False):
        index = relative_position_index(window, device)
        rows = torch.arange((2 * window - 1)**2, device=device)
        pairs = (index.flatten() == rows[:, None]).float()
        index = F.pad(index, (0, row_width(len(index), device) - len(index)))
    if type(index) is Tensor and not (is_compiling() or torch.jit.is_tracing()):
        _INDICES[window, device] = index, pairs
    return index, pairs

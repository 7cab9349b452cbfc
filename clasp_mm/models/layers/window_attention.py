"""Shifted-window multi-head self-attention (Swin, arXiv 2103.14030, section 3.2).

The map is padded to whole windows and every second block shifts. Where the map is no higher or no
wider than a window there are two habits: mmdet, mmsegmentation, mmpose and SOLIDER shift there too;
classifiers (Microsoft's, timm's, mmpretrain's by default) do not. ``pad_small_map`` chooses.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clasp_mm.compat import is_compiling

from .cpu import goes_in_parts, in_parts
from .linear import Linear

_MASK_VALUE = -1e4  # exp() of it is exactly 0: no leak, and no denormals that slow the CPU down


class WindowLayout(NamedTuple):
    """Where the tokens of an (H, W) map lie among its shifted windows.

    Attributes:
        gather: (nW * N,) int64, the token at each window position; H * W marks padding.
        scatter: (H * W,) int64, the window position of each token.
        mask: (nW, N, N) float32 to add to the attention logits, or None without shift.
    """

    gather: Tensor
    scatter: Tensor
    mask: Tensor | None


def _build_layout(
        height: int, width: int, window: int, shift: int, device: torch.device) -> WindowLayout:
    rows = -(-height // window)
    cols = -(-width // window)
    padded_h, padded_w = rows * window, cols * window

    def to_windows(grid: Tensor) -> Tensor:
        grid = grid.reshape(rows, window, cols, window).permute(0, 2, 1, 3)
        return grid.reshape(rows * cols, window * window)

    y = torch.arange(padded_h, device=device)
    x = torch.arange(padded_w, device=device)
    source_y, source_x = (y + shift) % padded_h, (x + shift) % padded_w
    real = (source_y < height)[:, None] & (source_x < width)[None]
    token = source_y[:, None] * width + source_x[None]
    gather = to_windows(torch.where(real, token, height * width)).flatten()

    ty = torch.arange(height, device=device)
    tx = torch.arange(width, device=device)
    sy, sx = (ty - shift) % padded_h, (tx - shift) % padded_w
    scatter = (((sy // window)[:, None] * cols + (sx // window)[None]) * window * window
               + (sy % window)[:, None] * window + (sx % window)[None]).flatten()

    mask = None
    if shift:
        # Rolled positions whose sources were not neighbours carry different region numbers.
        region_y = (y >= padded_h - window).long() + (y >= padded_h - shift).long()
        region_x = (x >= padded_w - window).long() + (x >= padded_w - shift).long()
        region = to_windows(region_y[:, None] * 3 + region_x[None])
        mask = (region[:, :, None] != region[:, None, :]).float() * _MASK_VALUE
    return WindowLayout(gather, scatter, mask)


_LAYOUTS: dict[tuple, WindowLayout] = {}
_MAX_LAYOUTS = 256


def window_layout(
        height: int, width: int, window: int, shift: int, device: torch.device) -> WindowLayout:
    """Layout of an (H, W) map in windows of ``window`` x ``window`` tokens, moved by ``shift``.

    In eager mode layouts are kept for reuse, at most 256 of them; while compiling, exporting or
    tracing they are part of the graph instead.
    """
    if is_compiling() or torch.jit.is_tracing():
        return _build_layout(height, width, window, shift, device)
    key = (height, width, window, shift, device)
    layout = _LAYOUTS.get(key)
    if layout is None:
        with torch.inference_mode(False):  # a kept inference tensor could not be trained with
            layout = _build_layout(height, width, window, shift, device)
        if type(layout.gather) is Tensor:  # and not a fake one
            if len(_LAYOUTS) >= _MAX_LAYOUTS:
                _LAYOUTS.clear()
            _LAYOUTS[key] = layout
    return layout


def relative_position_index(window: int) -> Tensor:
    """Row of the bias table for each pair of window positions, (N, N) int64, N = window^2."""
    position = torch.arange(window)
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
    """
    side = round(table.shape[0]**0.5)
    if side * side != table.shape[0]:
        raise ValueError(
            f'a relative-position table of {table.shape[0]} rows belongs to no square window')
    grid = table.detach().float().T.reshape(1, -1, side, side)
    grid = F.interpolate(grid, size=2 * window - 1, mode='bicubic', align_corners=False)
    return grid.flatten(2)[0].T.contiguous().to(table.dtype)


class _WindowMSA(nn.Module):
    """Parameters of window attention, under mmpretrain's names."""

    def __init__(self, dim: int, num_heads: int, window: int, drop: float) -> None:
        super().__init__()
        self.window = window
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * window - 1)**2, num_heads))
        self.register_buffer(
            'relative_position_index', relative_position_index(window), persistent=False)
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        self.proj_drop = nn.Dropout(drop)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=.02)

    def bias(self) -> Tensor:
        """Relative-position bias, (num_heads, N, N)."""
        index = self.relative_position_index
        rows = self.relative_position_bias_table.index_select(0, index.flatten())
        return rows.view(*index.shape, -1).permute(2, 0, 1)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        """Resize the bias table of another window size; the index is no part of the state."""
        state_dict.pop(prefix + 'relative_position_index', None)
        key = prefix + 'relative_position_bias_table'
        table = state_dict.get(key)
        if table is not None and table.shape[0] != self.relative_position_bias_table.shape[0]:
            state_dict[key] = resize_bias_table(table, self.window)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class ShiftedWindowAttention(nn.Module):
    """Self-attention inside windows of a map, with relative-position bias.

    Equal to mmpretrain's ``ShiftWindowMSA`` with the same weights. Queries, keys and values are
    computed for real tokens only: a padding token is zero, so its query, key and value are the
    bias of the projection.

    Args:
        dim: Channels C.
        num_heads: Attention heads; must divide ``dim``.
        window_size: Side of the square window, in tokens.
        shift: Tokens by which the windows are moved to the lower right.
        attn_drop_rate: Dropout of the attention probabilities.
        drop_rate: Dropout of the output.
        pad_small_map: Shift on every map, and pad maps below the window. If not, a map with a
            side of one window is not shifted, and one with a shorter side is refused.
    """

    def __init__(self,
                 dim: int,
                 num_heads: int,
                 window_size: int = 7,
                 shift: int = 0,
                 attn_drop_rate: float = 0.,
                 drop_rate: float = 0.,
                 pad_small_map: bool = True) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f'{dim} channels cannot be split over num_heads={num_heads}')
        self.num_heads = num_heads
        self.window_size = window_size
        self.shift = shift
        self.attn_drop_rate = attn_drop_rate
        self.pad_small_map = pad_small_map
        self.w_msa = _WindowMSA(dim, num_heads, window_size, drop_rate)

    def forward(self, x: Tensor, hw: tuple[int, int]) -> Tensor:
        """Attend.

        Args:
            x: (B, L, C) tokens of a map in row-major order, L = H * W.
            hw: (H, W).

        Returns:
            (B, L, C).

        Raises:
            ValueError: If the map is smaller than a window and ``pad_small_map`` is false.
        """
        batch, _, dim = x.shape
        window, shift = self.window_size, self.shift
        if not self.pad_small_map and min(hw) <= window:
            if min(hw) < window:
                raise ValueError(f'a map of {hw[0]}x{hw[1]} tokens is smaller than '
                                 f'window_size={window}: give larger images, a smaller window or '
                                 'pad_small_map=True')
            shift = 0
        layout = window_layout(*hw, window, shift, x.device)
        bias = self.w_msa.bias()[None]
        if layout.mask is not None:
            bias = bias + layout.mask[:, None]
        num_windows = -(-hw[0] // window) * -(-hw[1] // window)
        padded = hw[0] % window or hw[1] % window
        width = 3 * window * window * dim
        if batch == 1 and goes_in_parts(self, num_windows, width, x):
            tokens = F.pad(x, (0, 0, 0, 1)) if padded else x

            def attend(gather: Tensor, bias: Tensor) -> Tensor:
                qkv = self.w_msa.qkv(tokens.index_select(1, gather.flatten()))
                return self._attend(qkv, bias, len(gather))

            out = in_parts(self, attend, width, layout.gather.view(num_windows, -1),
                           bias.expand(num_windows, -1, -1, -1))
        else:
            # The row after the last token is zero, so its qkv is what every padding token has.
            qkv = (self.w_msa.qkv(F.pad(x, (0, 0, 0, 1))).index_select(1, layout.gather) if padded
                   else self.w_msa.qkv(x.index_select(1, layout.gather)))
            out = self._attend(qkv, bias, 1 if layout.mask is None else num_windows)
        out = out.reshape(batch, -1, dim).index_select(1, layout.scatter)
        return self.w_msa.proj_drop(self.w_msa.proj(out))

    def _attend(self, qkv: Tensor, bias: Tensor, num_biases: int) -> Tensor:
        """Softmax attention inside windows.

        Args:
            qkv: 3 C numbers for each of the N tokens of B * nW windows, of any shape.
            bias: (num_biases, num_heads, N, N).
            num_biases: nW, or 1 where all windows have the same.

        Returns:
            (B * nW, N, C).
        """
        size, heads = self.window_size**2, self.num_heads
        qkv = qkv.view(-1, size, 3, heads, qkv.shape[-1] // (3 * heads))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        drop = self.attn_drop_rate if self.training else 0.
        if (bias.device.type == 'cpu' and bias.requires_grad and torch.is_grad_enabled()
                and not torch.jit.is_tracing()):
            # On the CPU the fused kernel cannot learn a bias, and what replaces it is slower.
            logits = (q * q.shape[-1]**-0.5) @ k.transpose(-2, -1)
            logits = logits.unflatten(0, (-1, num_biases)) + bias
            out = F.dropout(logits.softmax(-1), drop).flatten(0, 1) @ v
            return out.transpose(1, 2).flatten(2)
        if num_biases > 1:
            bias = bias.expand(q.shape[0] // num_biases, -1, -1, -1, -1).flatten(0, 1)
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias.to(q.dtype), dropout_p=drop)
        return out.transpose(1, 2).flatten(2)

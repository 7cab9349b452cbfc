"""Shifted-window multi-head self-attention (Swin, arXiv 2103.14030, section 3.2).

The map is padded to whole windows and every second block shifts. Where the map is no higher or no
wider than a window there are two habits: mmdet, mmsegmentation, mmpose and SOLIDER shift there too;
classifiers (Microsoft's, timm's, mmpretrain's by default) do not. ``pad_small_map`` chooses.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clasp_mm.compat import is_compiling, torch_at_least

from .cpu import chunked, needs_chunks
from .linear import Linear
from .relative_bias import relative_bias, resize_bias_table
from .windows import from_windows, to_windows, window_layout


class _WindowMSA(nn.Module):
    """Parameters of window attention, under mmpretrain's names."""

    def __init__(self, dim: int, num_heads: int, window: int, drop: float) -> None:
        super().__init__()
        self.window = window
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * window - 1)**2, num_heads))
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        self.proj_drop = nn.Dropout(drop)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=.02)

    def padding(self, x: Tensor) -> Tensor:
        """What :attr:`qkv` makes of a token of zeros: its bias, unless it was replaced."""
        if type(self.qkv) is Linear:
            return self.qkv.bias
        return self.qkv(x.new_zeros(1, x.shape[-1]))[0]

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

    Example:
        >>> attention = ShiftedWindowAttention(8, num_heads=2, window_size=4, shift=2)
        >>> attention(torch.zeros(1, 6 * 5, 8), (6, 5)).shape
        torch.Size([1, 30, 8])
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
        num_windows = -(-hw[0] // window) * -(-hw[1] // window)
        as_heads = shift > 0 and _takes_windows_as_heads(x)
        layout = window_layout(*hw, window, shift, x.device, window_last=as_heads)
        msa, width = self.w_msa, 3 * window * window * dim
        if batch == 1 and needs_chunks(self, num_windows, width, x):
            tokens = x if layout.holes is None else F.pad(x, (0, 0, 0, 1))

            def attend(gather: Tensor, *mask: Tensor) -> Tensor:
                return self._attend(msa.qkv(tokens.index_select(1, gather.flatten())), *mask)

            out = chunked(self, attend, width, layout.gather.view(num_windows, -1),
                           *(() if layout.mask is None else (layout.mask, )))
        elif layout.holes is None and not as_heads:
            out = self._attend(msa.qkv(to_windows(x, None, layout)), layout.mask)
        else:
            out = self._attend(to_windows(msa.qkv(x), msa.padding(x), layout), layout.mask,
                               as_heads)
        out = from_windows(out.reshape(batch, -1, dim), layout)
        return msa.proj_drop(msa.proj(out))

    def _attend(self, qkv: Tensor, mask: Tensor | None = None, as_heads: bool = False) -> Tensor:
        """Softmax attention inside windows: (B * nW, N, 3 C), of any shape, to (B * nW, N, C).

        Where windows count as heads: (B, 3, N * nW, C) to (B, N, nW * C).
        """
        size, heads = self.window_size**2, self.num_heads
        table = self.w_msa.relative_position_bias_table
        drop = self.attn_drop_rate if self.training else 0.
        if as_heads:
            qkv = qkv.view(len(qkv), 3, size, -1, qkv.shape[-1] // heads)
            q, k, v = qkv.transpose(2, 3).unbind(1)
            bias = relative_bias(table, self.window_size, mask, q.dtype, len(q))
            return _fused_attention(q, k, v, bias, drop).transpose(1, 2).flatten(2)
        qkv = qkv.view(-1, size, 3, heads, qkv.shape[-1] // (3 * heads))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if (q.device.type == 'cpu' and table.requires_grad and torch.is_grad_enabled()
                and not torch.jit.is_tracing()):
            # On the CPU the fused kernel cannot learn a bias, and what replaces it is slower.
            bias = relative_bias(table, self.window_size, mask)
            logits = (q * q.shape[-1]**-0.5) @ k.transpose(-2, -1)
            logits = logits.unflatten(0, (-1, len(bias))) + bias
            out = F.dropout(logits.softmax(-1), drop).flatten(0, 1) @ v
        else:
            bias = relative_bias(table, self.window_size, mask, q.dtype,
                                 q.shape[0] if mask is None else None)
            if mask is not None:
                bias = bias.expand(q.shape[0] // bias.shape[0], -1, -1, -1, -1).flatten(0, 1)
            out = _fused_attention(q, k, v, bias, drop)
        return out.transpose(1, 2).flatten(2)


def _takes_windows_as_heads(x: Tensor) -> bool:
    """Whether the mask of each window is not repeated for each image of a batch."""
    return x.device.type != 'cpu'


def _fused_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, drop: float) -> Tensor:
    """Attention, with and without gradients by the same kernel: not cuDNN's, which cannot learn a
    bias, makes a plan for each new size, and is torch's choice on Hopper without gradients.
    """
    if q.device.type != 'cuda' or not torch_at_least(2, 5):
        return F.scaled_dot_product_attention(q, k, v, bias, drop)
    if is_compiling():
        from torch.nn.attention import SDPBackend, sdpa_kernel
        with sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
            return F.scaled_dot_product_attention(q, k, v, bias, drop)
    allowed = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)  # a tenth of the time of sdpa_kernel
    try:
        return F.scaled_dot_product_attention(q, k, v, bias, drop)
    finally:
        torch.backends.cuda.enable_cudnn_sdp(allowed)

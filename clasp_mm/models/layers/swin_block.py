"""Patch embedding, block and patch merging of Swin (arXiv 2103.14030), with mmpretrain's names."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cpu import chunked
from .linear import Linear, LinearGELU
from .window_attention import ShiftedWindowAttention


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): drops the branch of whole images in training.

    >>> DropPath(.5).train()(torch.ones(4, 1, 1)).unique().tolist()
    [0.0, 2.0]
    """

    def __init__(self, drop_prob: float = 0.) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        """Keep each image's (L, C) branch with probability 1 - p, scaled by 1 / (1 - p)."""
        if not self.training or self.drop_prob == 0.:
            return x
        keep = 1. - self.drop_prob
        shape = (x.shape[0],) + (1,) * (x.dim() - 1)
        return x * torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(keep).div_(keep)

    def extra_repr(self) -> str:
        return f'drop_prob={self.drop_prob:.3f}'


class FFN(nn.Module):
    """Token-wise two-layer perceptron with GELU, (B, L, C) -> (B, L, C).

    >>> FFN(8, hidden=32)(torch.zeros(2, 6, 8)).shape
    torch.Size([2, 6, 8])
    """

    def __init__(self, dim: int, hidden: int, drop_rate: float = 0.) -> None:
        super().__init__()
        self.hidden = hidden
        self.layers = nn.Sequential(
            LinearGELU(dim, hidden, drop_rate), Linear(hidden, dim), nn.Dropout(drop_rate))

    def forward(self, x: Tensor) -> Tensor:
        return chunked(self.layers, self.layers, x.shape[0] * self.hidden, x, dim=1)


class SwinBlock(nn.Module):
    """Shifted-window attention and a feed-forward network, both pre-normed and residual.

    Args:
        dim: Channels C.
        num_heads: Attention heads.
        window_size: Side of the window, in tokens.
        shift: Whether the windows are moved by half their side.
        ffn_ratio: Hidden channels of the feed-forward network over C.
        drop_path_rate: Probability of dropping each residual branch in training.
        drop_rate: Dropout after the attention projection and inside the feed-forward network.
        attn_drop_rate: Dropout of the attention probabilities.
        pad_small_map: See :class:`~clasp_mm.models.layers.ShiftedWindowAttention`.

    Example:
        >>> block = SwinBlock(8, num_heads=2, window_size=4, shift=True)
        >>> block(torch.zeros(1, 6 * 5, 8), (6, 5)).shape
        torch.Size([1, 30, 8])
    """

    def __init__(self,
                 dim: int,
                 num_heads: int,
                 window_size: int = 7,
                 shift: bool = False,
                 ffn_ratio: float = 4.,
                 drop_path_rate: float = 0.,
                 drop_rate: float = 0.,
                 attn_drop_rate: float = 0.,
                 pad_small_map: bool = True) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = ShiftedWindowAttention(
            dim, num_heads, window_size, window_size // 2 if shift else 0, attn_drop_rate,
            drop_rate, pad_small_map)
        self.norm2 = nn.LayerNorm(dim)
        self.ffn = FFN(dim, int(dim * ffn_ratio), drop_rate)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, hw: tuple[int, int]) -> Tensor:
        """Map (B, L, C) tokens of an (H, W) map to (B, L, C)."""
        x = x + self.drop_path(self.attn(self.norm1(x), hw))
        return x + self.drop_path(self.ffn(self.norm2(x)))


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens: convolution, then LayerNorm.

    Args:
        in_channels: Channels of the image.
        dim: Channels C of a token.
        patch_size: Side of a patch, in pixels; the image is zero-padded to whole patches at its
            lower right.

    Example:
        >>> tokens, hw = PatchEmbed(3, dim=8, patch_size=4)(torch.zeros(1, 3, 16, 10))
        >>> tokens.shape, hw
        (torch.Size([1, 12, 8]), (4, 3))
    """

    def __init__(self, in_channels: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.projection = nn.Conv2d(in_channels, dim, patch_size, patch_size)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Map images (B, in_channels, H, W) to tokens (B, L, C) and the size of their map."""
        height, width = x.shape[2:]
        if torch.jit.is_tracing():  # where sizes are tensors; a trace has one size of image
            height, width = int(height), int(width)
        pad_h, pad_w = -height % self.patch_size, -width % self.patch_size
        if pad_h or pad_w:
            x = F.pad(x, (0, pad_w, 0, pad_h))
        x = self.projection(x).flatten(2).transpose(1, 2)
        hw = ((height + pad_h) // self.patch_size, (width + pad_w) // self.patch_size)
        return self.norm(x), hw


class PatchMerging(nn.Module):
    """Joins each 2x2 neighbourhood of tokens into one: LayerNorm, then a linear C*4 -> 2C.

    The channels of a neighbourhood are ordered as by ``nn.Unfold`` (channel first), which is the
    order of mmpretrain's weights; the map is zero-padded at its lower right where needed.

    Args:
        dim: Channels C of the input.
        stride: Step of the neighbourhoods in tokens; 1 keeps the size of the map.

    Example:
        >>> tokens, hw = PatchMerging(8)(torch.zeros(1, 4 * 3, 8), (4, 3))
        >>> tokens.shape, hw
        (torch.Size([1, 4, 16]), (2, 2))
    """

    def __init__(self, dim: int, stride: int = 2) -> None:
        super().__init__()
        self.stride = stride
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor, hw: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        """Map (B, H * W, C) to (B, H' * W', 2C) and (H', W')."""
        batch, _, dim = x.shape
        stride = self.stride
        height, width = -(-hw[0] // stride), -(-hw[1] // stride)
        pad_h, pad_w = (height - 1) * stride + 2 - hw[0], (width - 1) * stride + 2 - hw[1]
        x = x.view(batch, *hw, dim)
        if pad_h or pad_w:
            x = F.pad(x, (0, 0, 0, pad_w, 0, pad_h))
        if stride == 2:
            corners = [half for rows in x.view(batch, height, 2, width, 2, dim).unbind(2)
                       for half in rows.unbind(3)]
        else:
            corners = [x[:, i:i + height, j:j + width] for i in (0, 1) for j in (0, 1)]
        x = torch.stack(corners, dim=-1).view(batch, height * width, 4 * dim)
        return self.reduction(self.norm(x)), (height, width)

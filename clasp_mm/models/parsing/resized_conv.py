"""A convolution of resized maps, computed before they are resized."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmseg.models.utils import resize
from torch import Tensor, nn

from ..layers.cpu import has_hooks


def resized_conv(block: ConvModule, maps: Sequence[Tensor], size: Sequence[int],
                 align_corners: bool = False) -> Tensor:
    """``block`` on all maps, each resized to ``size`` and then concatenated.

    A kernel's tap mixes channels, resizing and the tap's place mix places, and both are linear: so
    maps of another size are multiplied with the taps first, at their own resolution (a quarter of
    the work at half the resolution), and the products brought to their places. Values and gradients
    are the same but for the last digits; no map is held resized.

    Args:
        block: Convolution with stride 1 and the padding that keeps the size, norm, activation. One
            of another kind (deformable, say) and one with a hook get the resized maps.
        maps: (B, C_i, h_i, w_i), bilinearly resized, in the order of the kernel's channels.
        size: (H, W); one map at least has it.
        align_corners: As :func:`torch.nn.functional.interpolate`'s.

    Returns:
        (B, D, H, W).
    """
    size, conv = tuple(size), block.conv
    if type(conv) is not nn.Conv2d or has_hooks(block):
        return block(torch.cat(
            [resize(x, size=size, mode='bilinear', align_corners=align_corners) for x in maps], 1))
    kernels = conv.weight.split([x.shape[1] for x in maps], 1)
    right, other = [], []
    for x, kernel in zip(maps, kernels, strict=True):
        (right if x.shape[-2:] == size else other).append((x, kernel))
    x, kernel = (torch.cat(parts, 1) for parts in zip(*right, strict=True))
    out = F.conv2d(x, kernel, conv.bias, padding=conv.padding)
    for x, kernel in other:
        out += _conv_resized(x, kernel, size, align_corners)
    if block.with_norm:
        out = block.norm(out)
    return block.activate(out) if block.with_activation else out


def _conv_resized(x: Tensor, kernel: Tensor, size: tuple[int, ...], align_corners: bool) -> Tensor:
    """(B, C, h, w) and (D, C, k, k) to (B, D, H, W)."""
    (batch, channels, height, width), (outputs, _, taps, _) = x.shape, kernel.shape
    down, across = (_places(x, *sides, taps, align_corners)
                    for sides in ((height, size[0]), (width, size[1])))
    # (B, taps across * D * taps down, h, w)
    x = F.conv2d(x, kernel.permute(3, 0, 2, 1).reshape(-1, channels, 1, 1))
    x = x.reshape(batch, taps, -1, width)
    x = sum((x[:, tap] @ across[tap] for tap in range(1, taps)), x[:, 0] @ across[0])
    return down.flatten(0, 1).T @ x.view(batch, outputs, -1, size[1])


def _places(like: Tensor, cells: int, outputs: int, taps: int, align_corners: bool) -> Tensor:
    """(taps, cells, outputs): how much of a cell an output's tap sees, 0 in the padding."""
    weights = F.interpolate(torch.eye(cells, dtype=like.dtype, device=like.device)[None], outputs,
                            mode='linear', align_corners=align_corners)[0]
    return F.pad(weights, (taps // 2, taps // 2)).unfold(1, outputs, 1).transpose(0, 1)

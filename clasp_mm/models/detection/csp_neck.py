"""Three stages of a backbone on one map."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from clasp_mm.registry import MODELS


@MODELS.register_module()
class CSPNeck(BaseModule):
    """Deconvolve every map to one stride, normalise each, concatenate (CSP, section 3.2).

    Args:
        in_channels: Channels of the maps.
        in_strides: Their strides in pixels; each 2 or 4 times ``stride``.
        stride: Stride of the output.
        out_channels: Channels that each map is brought to.
        init_scale: First value of the learnt scale of each normalised channel.
        init_cfg: MMEngine's.

    Raises:
        ValueError: A stride is not 2 or 4 times ``stride``, or the maps do not meet.
    """

    def __init__(self, in_channels: Sequence[int], in_strides: Sequence[int] = (8, 16, 16),
                 stride: int = 4, out_channels: int = 256, init_scale: float = 10.,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if len(in_strides) != len(in_channels):
            raise ValueError(f'in_channels={tuple(in_channels)} and in_strides='
                             f'{tuple(in_strides)} differ in length')
        self.in_strides = tuple(in_strides)
        self.deconvs = nn.ModuleList()
        for channels, in_stride in zip(in_channels, in_strides, strict=True):
            factor = in_stride // stride
            if factor not in (2, 4) or in_stride % stride:
                raise ValueError(f'in_strides={tuple(in_strides)}: each must be 2 or 4 times the '
                                 f"output's stride {stride}")
            self.deconvs.append(nn.ConvTranspose2d(
                channels, out_channels, kernel_size=4, stride=factor, padding=(4 - factor) // 2))
        self.scales = nn.Parameter(torch.full((len(in_channels), out_channels), init_scale))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor]:
        """(B, C_i, H_i, W_i) maps to one (B, sum of channels, H, W) at ``stride``."""
        outs = [F.normalize(deconv(x).float(), dim=1) * scale[:, None, None]
                for x, deconv, scale in zip(maps, self.deconvs, self.scales, strict=True)]
        sizes = {tuple(out.shape[-2:]) for out in outs}
        if len(sizes) > 1:
            raise ValueError(
                f'maps of strides {self.in_strides} do not meet: {sorted(sizes)}; pad images to a '
                f'multiple of {max(self.in_strides)} (data_preprocessor.pad_size_divisor)')
        return (torch.cat(outs, 1), )

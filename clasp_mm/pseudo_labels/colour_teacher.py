"""A stand-in for the DINO teacher before anything is trained: colours and their spread."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ColourTeacher(nn.Module):
    """Maps of mean and deviation of the colour in patches of 4, 8, 16 and 32 pixels.

    Regions of one colour are garments, hair and skin often enough to judge a folder before any
    training; a trained teacher finds better ones. It has no weights.
    """

    NAME = 'colours, version 1'  # what stores record of it
    STRIDES = (4, 8, 16, 32)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) to maps (B, 6, H / s, W / s)."""
        maps = []
        for stride in self.STRIDES:
            mean = F.avg_pool2d(x, stride)
            variance = F.avg_pool2d(x.square(), stride) - mean.square()
            maps.append(torch.cat([mean, variance.clamp_min(0).sqrt()], dim=1))
        return tuple(maps)

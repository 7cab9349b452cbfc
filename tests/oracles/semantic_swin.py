"""SOLIDER's semantic controller written as its formula is, one image and one channel at a time."""

import math

import torch
from torch import Tensor, nn


def controlled(x: Tensor, weights: dict[str, Tensor], stage: int, semantic: list[float]) -> Tensor:
    """Tokens (B, L, C) after the merging of a stage, scaled and shifted."""
    out = torch.empty_like(x)
    for image, lam in enumerate(semantic):
        for channel in range(x.shape[2]):
            scale, shift = (
                (weights[f'semantic_embed_{kind}.{stage}.weight'][channel, 0] * lam
                 + weights[f'semantic_embed_{kind}.{stage}.weight'][channel, 1] * (1 - lam)
                 + weights[f'semantic_embed_{kind}.{stage}.bias'][channel]).item()
                for kind in 'wb')
            out[image, :, channel] = x[image, :, channel] * math.log(1 + math.exp(scale)) + shift
    return out


def semantic_swin(plain: nn.Module, weights: dict[str, Tensor], images: Tensor,
                  semantic: list[float]) -> list[Tensor]:
    """Normed maps (B, C_i, H_i, W_i) of all stages, from a plain Swin's modules.

    Args:
        plain: ``PCMoESwin(moe=None)`` in evaluation mode.
        weights: The controller's tensors under SOLIDER's names.
        images: (B, 3, H, W).
        semantic: lambda of each image.
    """
    x, (height, width) = plain.patch_embed(images)
    maps = []
    for i, stage in enumerate(plain.stages):
        for block in stage.blocks:
            x = block(x, (height, width))
        normed = getattr(plain, f'norm{i}')(x)
        maps.append(normed.transpose(1, 2).reshape(len(images), -1, height, width))
        if stage.downsample is not None:
            x, (height, width) = stage.downsample(x, (height, width))
            x = controlled(x, weights, i, semantic)
    return maps

"""The forward pass of a backbone with PC-MoE against mmpretrain's plain Swin."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from mmpretrain.models import SwinTransformer
from torch import Tensor, nn

from clasp_mm.models.backbones import PCMoESwin
from clasp_mm.models.backbones.archs import ARCHS
from clasp_mm.models.weights.swin import load_backbone

from .contest import Goal, Options, Row, race

PEER = 'mmpretrain SwinTransformer, no MoE'
_SIZES = {(224, 224): Goal(0.80, 0.75), (256, 128): Goal(0.67, 0.62)}


def mmpretrain_swin(arch: str, **kwargs) -> SwinTransformer:
    """Mmpretrain's Swin that computes what ours does without PC-MoE."""
    settings = {key: list(value) if isinstance(value, tuple) else value
                for key, value in ARCHS[arch].items()}
    return SwinTransformer(settings, pad_small_map=True, **kwargs)


def backbone_pair(arch: str, device: str = 'cpu') -> tuple[PCMoESwin, SwinTransformer]:
    """Ours with PC-MoE, the identity so far, and mmpretrain's with the same weights."""
    peer = mmpretrain_swin(arch).to(device)
    peer.eval()  # which gives None
    ours = PCMoESwin(arch, task='appearance').to(device).eval()
    load_backbone(ours, peer.state_dict())
    return ours, peer


def backbone(options: Options) -> Iterator[Row]:
    """Swin-B, without gradients, at 224x224 and at 256x128."""
    arch = 'nano' if options.quick else 'base'
    ours, peer = backbone_pair(arch, options.device)
    batch = options.batch(4 if options.device == 'cpu' else 128)
    for size, goal in _SIZES.items():
        images = torch.randn(batch, 3, *size, device=options.device)
        yield race(
            f'backbone {size[0]}x{size[1]}',
            f'Swin-{arch} with PC-MoE, {options.dtype}, batch {batch}', PEER,
            _forward(ours, images, options), _forward(peer, images, options), goal, options, batch)


def _forward(model: nn.Module, images: Tensor, options: Options) -> Callable[[], Tensor]:
    run = torch.compile(model, dynamic=False) if options.compiled else model

    @torch.no_grad()
    def call() -> Tensor:
        with options.autocast():
            return run(images)[-1]
    return call

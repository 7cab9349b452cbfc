"""Several tasks from one pass against a pass for each task."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from clasp_mm.models import PCMoESwin
from clasp_mm.models.backbones.branched import forward_tasks
from clasp_mm.models.layers import TASKS

from .contest import Goal, Options, Row, race

_GOAL = Goal(1.00)
_SIZE = (256, 128)


def multi_task(options: Options) -> Iterator[Row]:
    """Swin-B under three prompts: exact, and branching late; random weights."""
    arch, size = ('nano', (64, 32)) if options.quick else ('base', _SIZE)
    batch = options.batch(4 if options.device == 'cpu' else 64)
    torch.manual_seed(0)
    backbone = PCMoESwin(arch).to(options.device).eval()
    images = torch.randn(batch, 3, *size, device=options.device)

    @torch.inference_mode()
    def separate() -> None:
        with options.autocast():
            for task in TASKS:
                backbone(images, task)

    @torch.inference_mode()
    def together(stage: int) -> None:
        with options.autocast():
            forward_tasks(backbone, images, TASKS, stage)

    for stage in range(backbone.num_stages):
        name = 'exact' if stage == 0 else f'branching at stage {stage}'
        yield race(f'{len(TASKS)} tasks in a pass, {name}',
                   f'Swin-{arch}, {size[0]}x{size[1]}, {options.dtype}, batch {batch}',
                   'a pass for each task', lambda stage=stage: together(stage), separate, _GOAL,
                   options, batch)

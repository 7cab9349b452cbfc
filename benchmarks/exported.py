"""Files of :func:`clasp_mm.export.write.export_model` against the model that they were made of."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from clasp_mm.export.run import ExportedModel
from clasp_mm.export.write import SUFFIXES, export_model
from clasp_mm.registry import MODELS
from clasp_mm.zoo.get_model import get_model

from .contest import Goal, Options, Row, race

_RUNTIMES = {'onnx': 'onnxruntime', 'torch': 'torch.export program'}


def export(options: Options) -> Iterator[Row]:
    """A backbone whose prompt is an input, at 256x128 on the CPU, in both formats."""
    options = replace(options, device='cpu', amp=False, compiled=False, profile=False)
    arch, size = ('nano', (64, 32)) if options.quick else ('tiny', (256, 128))
    cfg = dict(type='clasp_mm.PCMoESwin', arch=arch)
    batch = options.batch(1, quick=1)
    images, prompt = torch.randn(batch, 3, *size), torch.full((batch, 3), 1 / 3)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, 'backbone.pth')
        torch.save(dict(state_dict=MODELS.build(dict(cfg)).state_dict(),
                        meta=dict(backbone=cfg)), source)
        model = get_model(source)

        @torch.no_grad()
        def eager() -> Tensor:
            return model(images, prompt)[-1]

        for format, runtime in _RUNTIMES.items():
            file = source.with_suffix(SUFFIXES[format])
            export_model(source, file, size=size, prompt_input=True, format=format)
            ours = ExportedModel(file)
            yield race(
                f'{runtime} {size[0]}x{size[1]}', f'exported Swin-{arch} with PC-MoE by {runtime}, '
                f'float32, batch {batch}', 'the same in torch, eager',
                lambda ours=ours: ours(images.numpy(), prompt.numpy()), eager, Goal(1.),
                options, batch)

"""What models cost beside each other (CLASP, Table XII)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config

from clasp_mm.engine.training_step import measure_steps
from clasp_mm.models.macs import OneMap, count_macs
from clasp_mm.registry import MODELS
from clasp_mm.utils.device import pick_device
from clasp_mm.utils.tables import markdown_table
from clasp_mm.utils.timing import interleaved


def measure_cost(configs: Mapping[str, Config], size: tuple[int, int] = (256, 128),
                 images_per_epoch: int | None = None,
                 device: str | torch.device | None = None, repeats: int = 7, steps: bool = True
                 ) -> list[dict[str, Any]]:
    """Cost of pretraining configs; times are medians, all configs by turns.

    Args:
        configs: Name -> pretraining config.
        size: (H, W) of the image whose forward pass is counted and timed, a batch of one.
        images_per_epoch: Images of an epoch, for its hours on one process of this machine.
        device: Where to count and time; by default on the GPU where there is one.
        repeats: Rounds of the latency.
        steps: Also measure a training step, at the config's batch and crops on random images.

    Returns:
        For each config ``name``, ``parameters`` of the backbone, ``macs``, ``flops`` (2 x MACs),
        ``latency`` in seconds; with ``steps`` also ``batch_size``, ``step`` in seconds,
        ``peak_memory_mb``, and ``epoch_hours`` if ``images_per_epoch`` is given.

    Raises:
        ValueError: A config has no ``model.backbone``.
    """
    for name, cfg in configs.items():
        if not cfg.get('model', {}).get('backbone'):
            raise ValueError(f'{name} has no model.backbone to measure')
    device = pick_device(device)
    image = torch.randn(1, 3, *size, device=device)
    models = {name: OneMap(MODELS.build(dict(cfg.model.backbone, init_cfg=None))).to(device).eval()
              for name, cfg in configs.items()}
    with torch.no_grad():
        latency = interleaved({name: lambda model=model: model(image)
                               for name, model in models.items()}, repeats, 2, device)
    rows = []
    for name, model in models.items():
        macs = count_macs(model, image)
        rows.append(dict(name=name, parameters=sum(p.numel() for p in model.parameters()),
                         macs=macs, flops=2 * macs, latency=latency[name].seconds))
    if steps:
        measured = measure_steps(configs, device)
        for row in rows:
            step, batch = measured[row['name']], configs[row['name']].train_dataloader.batch_size
            row.update(batch_size=batch, step=step['seconds'],
                       peak_memory_mb=step['peak_memory_mb'])
            if images_per_epoch:
                row['epoch_hours'] = images_per_epoch / batch * step['seconds'] / 3600
    return rows


def cost_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The configs as a table in Markdown."""
    columns = {'parameters, M': ('parameters', 1e-6), 'MACs, G': ('macs', 1e-9),
               'FLOPs (2 x MACs), G': ('flops', 1e-9), 'latency, ms an image': ('latency', 1e3),
               'batch': ('batch_size', 1), 'step, s': ('step', 1),
               'peak memory, MB': ('peak_memory_mb', 1), 'epoch, h': ('epoch_hours', 1)}
    columns = {title: key for title, key in columns.items() if key[0] in rows[0]}
    return markdown_table(['config', *columns], [
        [row['name'], *(f'{row[key] * scale:.4g}' for key, scale in columns.values())]
        for row in rows])

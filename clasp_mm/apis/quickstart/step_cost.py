"""What a training step costs: two algorithms step by turns in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from clasp_mm.registry import MODELS, TRANSFORMS


def measure_steps(configs: Mapping[str, Config], steps: int = 7,
                  warmup: int = 2) -> dict[str, dict[str, float]]:
    """Median seconds of a training step on random data, and on a GPU its peak memory.

    Args:
        configs: Name -> pretraining config; batch and crop sizes are taken from it.
        steps: Steps that count, of each algorithm, taken by turns.
        warmup: Steps before.

    Returns:
        For each name ``seconds``, and on a GPU ``peak_memory_mb``.
    """
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    runs = {name: _Stepper(cfg, device) for name, cfg in configs.items()}
    times: dict[str, list[float]] = {name: [] for name in configs}
    memory: dict[str, float] = {}
    for step in range(warmup + steps):
        for name, run in runs.items():
            if device.type == 'cuda':
                torch.cuda.reset_peak_memory_stats()
                torch.cuda.synchronize()
            start = time.perf_counter()
            run.step()
            if device.type == 'cuda':
                torch.cuda.synchronize()
                memory[name] = torch.cuda.max_memory_allocated() / 2**20
            if step >= warmup:
                times[name].append(time.perf_counter() - start)
    return {name: dict(seconds=statistics.median(times[name]),
                       **({'peak_memory_mb': memory[name]} if name in memory else {}))
            for name in configs}


class _Stepper:

    def __init__(self, cfg: Config, device: torch.device) -> None:
        self.model = MODELS.build(dict(cfg.model, stage1=None)).to(device).train()
        self.optim = build_optim_wrapper(self.model, cfg.optim_wrapper)
        crops = TRANSFORMS.build(next(t for t in cfg.train_dataloader.dataset.pipeline
                                      if t.type == 'clasp_mm.MultiCrop'))
        batch = cfg.train_dataloader.batch_size
        sizes = [crops.global_size] * crops.num_global + [crops.local_size] * crops.num_local
        self.views = [torch.randn(batch, 3, *size, device=device) for size in sizes]
        index = torch.arange(batch, device=device)
        self.samples = dict(sample_idx=index)
        if getattr(self.model, 'part_head', None) is not None:
            part_map = torch.randint(self.model.part_head.num_classes,
                                     (batch, crops.num_global, 32, 16), device=device)
            self.samples.update(part_map=part_map.to(torch.uint8))
        if getattr(self.model, 'attr_head', None) is not None:
            sizes = self.model.attr_head.attribute_sizes
            self.samples.update(attr_target=torch.stack([index % size for size in sizes], 1),
                                label_accepted=torch.ones_like(index, dtype=torch.bool))

    def step(self) -> None:
        self.model.set_progress(0, 1, 1)
        loss, _ = self.model.parse_losses(self.model.loss(self.views, self.samples))
        self.optim.update_params(loss)
        self.model.update_teacher()

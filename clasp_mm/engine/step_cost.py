"""What a training step costs: the algorithms step by turns in one process."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mmengine.config import Config

from clasp_mm.utils.device import pick_device
from clasp_mm.utils.profiling import peak_bytes
from clasp_mm.utils.timing import interleaved

from .training_step import TrainingStep

ROUNDS = 7


def measure_steps(configs: Mapping[str, Config], device: str | torch.device | None = None
                  ) -> dict[str, dict[str, float]]:
    """Cost of a training step on random data.

    Args:
        configs: Name -> pretraining config; batch and crop sizes are taken from it.
        device: Where to compute; by default on the GPU where there is one.

    Returns:
        For each name the median ``seconds`` and ``peak_memory_mb`` of the tensors.
    """
    device = str(pick_device(device))

    def build(cfg: Config) -> TrainingStep:
        return TrainingStep(cfg, cfg.train_dataloader.batch_size, device)

    peaks = {name: peak_bytes(lambda cfg=cfg: build(cfg), device)
             for name, cfg in configs.items()}
    steps = {name: build(cfg) for name, cfg in configs.items()}
    times = interleaved(steps, ROUNDS, warmup=2, device=device)
    return {name: dict(seconds=times[name].seconds, peak_memory_mb=peaks[name] / 2**20)
            for name in configs}

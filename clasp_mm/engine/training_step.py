"""A training step of DINO or CLASP on random images: a call that can be timed, and its cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

from clasp_mm.models.compiling import Compilation, compile_backbones
from clasp_mm.registry import MODELS, TRANSFORMS
from clasp_mm.utils.device import pick_device, precision
from clasp_mm.utils.profiling import peak_bytes
from clasp_mm.utils.timing import interleaved

ROUNDS = 7


class TrainingStep:
    """Losses, backward pass, optimizer and teacher; each call is one step.

    Args:
        cfg: A pretraining config: model, optimizer, and the sizes and numbers of the crops.
        batch_size: Images per step.
        device: Where to compute, as ``cuda:1``.
        amp: Compute in bfloat16 autocast.
        wrap_backbone: What to make of the config's backbone, the peer's for instance.
    """

    def __init__(self, cfg: Config, batch_size: int, device: str, amp: bool = False,
                 wrap_backbone: Callable[[dict], nn.Module] = MODELS.build) -> None:
        backbone = wrap_backbone(cfg.model.backbone)
        self.model = MODELS.build(dict(cfg.model, stage1=None, backbone=backbone))
        self.model.to(device).train()
        self.optimizer = build_optim_wrapper(self.model, cfg.optim_wrapper)
        self.device, self.amp = device, amp
        crops = TRANSFORMS.build(next(
            transform for transform in cfg.train_dataloader.dataset.pipeline
            if transform.type == 'clasp_mm.MultiCrop'))
        sizes = [crops.global_size] * crops.num_global + [crops.local_size] * crops.num_local
        self.views = [torch.randn(batch_size, 3, *size, device=device) for size in sizes]
        self.samples = self._samples(batch_size, crops.num_global, device)

    def _samples(self, batch_size: int, num_global: int, device: str) -> dict[str, Tensor]:
        index = torch.arange(batch_size, device=device)
        samples = dict(sample_idx=index,
                       label_accepted=torch.ones_like(index, dtype=torch.bool))
        if getattr(self.model, 'part_head', None) is not None:
            part_map = torch.randint(self.model.part_head.num_classes,
                                     (batch_size, num_global, 32, 16), device=device)
            samples.update(part_map=part_map.to(torch.uint8))
        if getattr(self.model, 'attr_head', None) is not None:
            values = [index % size for size in self.model.attr_head.attribute_sizes]
            samples.update(attr_target=torch.stack(values, 1))
        return samples

    def compile(self) -> TrainingStep:
        """Compile what the backbones of student and teacher compute, for each size of crop."""
        compile_backbones(self.model, Compilation(dynamic=False))
        return self

    def loss(self) -> Tensor:
        """The loss on the fixed images, (,)."""
        self.model.set_progress(0, 1, 1)
        with precision(self.device, self.amp):
            return self.model.parse_losses(self.model.loss(self.views, self.samples))[0]

    def __call__(self) -> None:
        self.optimizer.update_params(self.loss())
        self.model.update_teacher()


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

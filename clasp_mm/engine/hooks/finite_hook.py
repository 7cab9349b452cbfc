"""Stops a run at the first loss or weight that is no number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner

from clasp_mm.registry import HOOKS

_NAMED = 16


@HOOKS.register_module()
class FiniteHook(Hook):
    """Stops training at a loss or weight of NaN or infinity, before the teacher follows.

    A gradient that is not finite makes the weight so in the same iteration, unless the scaler of
    fp16 leaves the step out. The logged losses are means over all processes and the weights are the
    same in all, so all stop at the same iteration. The error names the images of the global batch.
    A checkpoint with such a weight is never written either.
    """

    priority = 'ABOVE_NORMAL'  # before TeacherHook

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        """Check the losses and the weights.

        Raises:
            FloatingPointError: Names the losses or weights, and the images.
        """
        values = {name: torch.as_tensor(value).float().mean()
                  for name, value in (outputs or {}).items()}
        weights = {name: weight.detach() for name, weight in runner.model.named_parameters()
                   if weight.requires_grad}
        values |= zip(weights, torch._foreach_norm(list(weights.values())), strict=True)
        devices = {value.device for value in values.values()}
        if all(torch.stack([value.float() for value in values.values() if value.device == device])
               .isfinite().all() for device in devices):  # the one wait for the device
            return
        broken = [name for name, value in values.items() if not value.isfinite()]
        if len(broken) > _NAMED:
            broken = [*broken[:_NAMED], f'{len(broken) - _NAMED} more']
        batch = [f'{index} ({name})' for part in all_gather_object(image_names(runner, data_batch))
                 for index, name in part]
        more = f' and {len(batch) - _NAMED} more' if len(batch) > _NAMED else ''
        raise FloatingPointError(
            f'{", ".join(broken)} of iteration {runner.iter + 1} is not finite (a weight by its '
            'gradient). The teacher is as it was before, and the last checkpoint is good: resume '
            'from it with a lower learning rate or float32, and look at the images of this batch: '
            f'{", ".join(batch[:_NAMED])}{more}')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the weights.

        Raises:
            FloatingPointError: Names the tensors.
        """
        broken = [name for name, value in checkpoint['state_dict'].items()
                  if not value.isfinite().all()]
        if broken:
            raise FloatingPointError(
                f'{len(broken)} tensors are not finite after iteration {runner.iter}, as '
                f'{broken[0]}; no checkpoint is written, the last one is good: resume from it with '
                'a lower learning rate or float32')


def image_names(runner: Runner, data_batch: Any) -> list[tuple[int, str]]:
    """Index and name of each image of this process's batch."""
    samples = data_batch['data_samples']
    if not isinstance(samples, Mapping):  # a host's, one object an image
        return [(sample.get('sample_idx', -1), sample.get('img_path', '')) for sample in samples]
    indices = samples['sample_idx'].tolist()
    names = getattr(runner.train_dataloader.dataset, 'names', None)
    return [(index, '' if names is None else names[index]) for index in indices]

"""Stops a run at the first loss or weight that is no number."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from clasp_mm.compat.private_torch import foreach_norm
from clasp_mm.registry import HOOKS

_NAMED = 16


class _Step(NamedTuple):
    iteration: int
    values: list[str]
    broken: Tensor  # (values,) bool
    images: list[tuple[int, str]]


@HOOKS.register_module()
class FiniteHook(Hook):
    """Stops training at a loss or weight of NaN or infinity, before the teacher follows.

    A gradient that is not finite makes the weight so in the same iteration, unless the scaler of
    fp16 leaves the step out. A loss may be that of one process; all agree before they stop. The
    error names the images of the global batch. A checkpoint with such a weight is never written
    either.

    The host does not wait for the device at every step where ``clasp_mm.StepValuesHook`` runs: from
    the broken iteration on the teacher stays as it is, by a flag on the device, and the run stops
    at the next step that is logged, or at the end of the epoch. Without that hook it stops at once.

    Attributes:
        broken: float32 (,) on the device, 1 from the first broken iteration on.
        deferred: Another hook reads :meth:`any_broken` and calls :meth:`judge`.
    """

    priority = 'ABOVE_NORMAL'  # before TeacherHook
    deferred = False

    def before_train(self, runner: Runner) -> None:
        weights = {name: weight.detach() for name, weight in runner.model.named_parameters()
                   if weight.requires_grad}
        self.names, self.weights = list(weights), list(weights.values())
        self.broken = torch.zeros((), device=self.weights[0].device)
        self.steps: list[_Step] = []

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        """Check the losses and the weights on the device."""
        losses = [torch.as_tensor(value, device=self.broken.device)
                  for value in (outputs or {}).values()]
        broken = ~torch.stack([*losses, *foreach_norm(self.weights)]).isfinite()
        self.broken = torch.maximum(self.broken, broken.any().float())
        self.steps.append(_Step(runner.iter + 1, [*(outputs or {}), *self.names], broken,
                                image_names(runner, data_batch)))
        if not self.deferred:
            self.judge(runner, bool(self.any_broken()))

    def any_broken(self) -> Tensor:
        """``broken`` of any process; all have to call it, and then :meth:`judge`."""
        flag = self.broken.clone()
        all_reduce(flag, 'max')
        return flag

    def judge(self, runner: Runner, broken: bool) -> None:
        """Stop if a step since the last call was broken in any process; all are told the same.

        Raises:
            FloatingPointError: Names the losses or weights, the iteration and the images.
        """
        steps, self.steps = self.steps, []
        if not broken:
            return
        own = next((at for at, step in enumerate(steps) if step.broken.any()), len(steps))
        first = steps[min(all_gather_object(own))]
        bad = [name for name, one in zip(first.values, first.broken.tolist(), strict=True) if one]
        parts = all_gather_object((bad, first.images))
        names = list(dict.fromkeys(name for part, _ in parts for name in part))
        if len(names) > _NAMED:
            names = [*names[:_NAMED], f'{len(names) - _NAMED} more']
        batch = [f'{index} ({name})' for _, part in parts for index, name in part]
        more = f' and {len(batch) - _NAMED} more' if len(batch) > _NAMED else ''
        raise FloatingPointError(
            f'{", ".join(names)} of iteration {first.iteration} is not finite (a weight by its '
            'gradient). The teacher is as it was before, and the last checkpoint is good: resume '
            'from it with a lower learning rate or float32, and look at the images of this batch: '
            f'{", ".join(batch[:_NAMED])}{more}')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Raise a FloatingPointError that names the weights that are not finite."""
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

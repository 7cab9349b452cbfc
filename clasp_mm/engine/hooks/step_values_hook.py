"""Reads what a step gives once a logging interval."""

from typing import Any

import torch
from mmengine.hooks import CheckpointHook, LoggerHook, RuntimeInfoHook
from mmengine.runner import Runner
from torch import Tensor

from clasp_mm.registry import HOOKS

from .algorithm_hook import ends_epoch
from .finite_hook import FiniteHook


@HOOKS.register_module()
class StepValuesHook(RuntimeInfoHook):
    """MMEngine's ``RuntimeInfoHook`` that does not wait for the device at every step.

    The losses and other values of a step stay on the device until a step that is logged, that a
    checkpoint follows, or that ends an epoch. Then one copy brings those of all steps since the
    last, and they enter the message hub in their order: its history, and so every mean over it, is
    what MMEngine's hook makes. :class:`FiniteHook` is told at these steps.

    It goes where that hook was, ``default_hooks=dict(runtime_info=...)``.
    """

    priority = 'NORMAL'  # after FiniteHook, before LoggerHook

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self.steps: list[dict[str, Any]] = []
        self.finite = next((hook for hook in runner.hooks if isinstance(hook, FiniteHook)), None)
        if self.finite is not None:
            self.finite.deferred = True

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        self.steps.append({
            name: value.detach() if isinstance(value, Tensor) else value
            for name, value in (outputs or {}).items()})
        if self._is_time(runner, batch_idx):
            self._read(runner)

    def _is_time(self, runner: Runner, batch_idx: int) -> bool:
        return (
            ends_epoch(runner)
            or any(hook.every_n_inner_iters(batch_idx, hook.interval)
                   for hook in runner.hooks if isinstance(hook, LoggerHook))
            or any(hook.every_n_train_iters(runner, hook.interval)
                   for hook in runner.hooks if isinstance(hook, CheckpointHook)
                   and not hook.by_epoch))

    def _read(self, runner: Runner) -> None:
        tensors = [value for step in self.steps for value in step.values()
                   if isinstance(value, Tensor)]
        if self.finite is not None:
            tensors.append(self.finite.any_broken())
        read = iter(torch.stack(tensors).tolist() if tensors else ())
        for step in self.steps:
            for name, value in step.items():
                runner.message_hub.update_scalar(
                    f'train/{name}', next(read) if isinstance(value, Tensor) else value)
        self.steps.clear()
        if self.finite is not None:
            self.finite.judge(runner, bool(next(read)))

"""Drives DINO's schedules and the teacher."""

import math
import time
from typing import Any

from mmengine.dist import get_world_size
from mmengine.runner import Runner

from clasp_mm.registry import HOOKS

from .algorithm_hook import AlgorithmHook
from .finite_hook import FiniteHook


@HOOKS.register_module()
class TeacherHook(AlgorithmHook):
    """Sets temperature and momentum before each step and moves the teacher after it.

    Logs ``teacher_temp``, ``teacher_momentum`` and ``images_per_second`` (over all processes).
    With gradient accumulation the schedules and the teacher advance by optimizer steps. Where
    :class:`FiniteHook` runs, the teacher follows no student that is not finite.
    """

    priority = 'NORMAL'

    def before_train(self, runner: Runner) -> None:
        """Find the algorithm, and the hook that knows which steps are broken."""
        super().before_train(runner)
        self.finite = next((hook for hook in runner.hooks if isinstance(hook, FiniteHook)), None)

    def before_train_epoch(self, runner: Runner) -> None:
        self.last_time = time.perf_counter()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        accumulation = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        steps = math.ceil(runner.max_iters / accumulation)  # the last may be of fewer batches
        self.model.set_progress(runner.iter // accumulation, steps, runner.epoch)
        if hasattr(runner.optim_wrapper, 'frozen'):
            runner.optim_wrapper.frozen = self.model.frozen_parameters()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        if runner.optim_wrapper.should_update():
            self.model.update_teacher(unless=getattr(self.finite, 'broken', None))
        hub = runner.message_hub
        hub.update_scalar('train/teacher_temp', self.model.teacher_temp)
        hub.update_scalar('train/teacher_momentum', self.model.momentum)
        images = len(data_batch['data_samples']['sample_idx']) * get_world_size()
        now = time.perf_counter()
        hub.update_scalar('train/images_per_second', images / (now - self.last_time))
        self.last_time = now

"""A cosine of the learning rate that counts under the warm-up."""

import math
from typing import Any

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler

from clasp_mm.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(LRSchedulerMixin, _ParamScheduler):
    """timm's cosine schedule with a warm-up, as TransReID and SOLIDER fine-tune by.

    With r the rate of a group and s the lowest of all groups, the rate of epoch t is
    a s + (r - a s) t / ``warmup`` in the warm-up, a being ``start_ratio``, and then
    b s + (r - b s) (1 + cos(pi t / ``total``)) / 2, b being ``end_ratio``. So the cosine has fallen
    for ``warmup`` epochs where it begins, and the ends are the same for all groups. (MMEngine's
    ``LinearLR`` and ``CosineAnnealingLR`` begin the cosine behind the warm-up, and end each group
    at a share of its own rate.)

    Args:
        optimizer: Optimizer or its wrapper.
        warmup: Epochs of the warm-up.
        total: Epochs of all.
        start_ratio: a.
        end_ratio: b.
        **kwargs: Arguments of MMEngine's schedulers; ``by_epoch=False`` counts iterations.

    Raises:
        ValueError: ``warmup`` is not within 0 and ``total`` - 1.
    """

    def __init__(self, optimizer: Any, warmup: int, total: int, start_ratio: float,
                 end_ratio: float, **kwargs: Any) -> None:
        if not 0 <= warmup < total:
            raise ValueError(f'warmup={warmup} must be at least 0 and below total={total}')
        self.warmup, self.total = warmup, total
        self.start_ratio, self.end_ratio = start_ratio, end_ratio
        super().__init__(optimizer, **kwargs)

    def _get_value(self) -> list[float]:
        groups = getattr(self.optimizer, 'optimizer', self.optimizer).param_groups
        lowest = min(self.base_values[:len(groups)])  # a wrapper adds one of its own
        step = min(self.last_step, self.total)
        if step < self.warmup:
            share, end = step / self.warmup, self.start_ratio * lowest
        else:
            share, end = (1 + math.cos(math.pi * step / self.total)) / 2, self.end_ratio * lowest
        return [end + share * (value - end) for value in self.base_values]

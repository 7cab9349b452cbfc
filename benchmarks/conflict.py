"""What watching the conflict of the pretext tasks adds to pretraining."""

from __future__ import annotations

from collections.abc import Iterator

from clasp_mm.engine.hooks.task_conflict_hook import TaskConflictHook, conflict_scalars
from clasp_mm.engine.training_step import TrainingStep
from clasp_mm.evaluation.task_conflict import expert_use
from clasp_mm.utils.timing import interleaved

from .contest import Goal, Options, Row
from .step import step_config

_GOAL = Goal(1.05)


def conflict(options: Options) -> Iterator[Row]:
    """The CLASP step with its share of a look of ``TaskConflictHook`` against the step alone.

    A look takes at most ``num_images``, so the larger the batch, the smaller its share.
    """
    hook = TaskConflictHook()
    batch = options.batch(4 if options.device == 'cpu' else 96)
    cfg = step_config('clasp', options.quick)
    cfg.model.semantic_views = 'alternate'
    step = TrainingStep(cfg, batch, options.device, options.amp)
    number = min(batch, hook.num_images)
    views = [view[:number] for view in step.views]
    samples = {key: value[:number] for key, value in step.samples.items()}

    def look() -> None:
        with options.autocast():
            conflict_scalars(step.model, views, samples)

    def ead() -> None:
        with options.autocast():
            expert_use(step.model.backbone, views[0])

    times = interleaved(dict(step=step, look=look, ead=ead), options.repeats,
                        device=options.device)
    row = Row('task conflict hook',
              f'CLASP step of {batch} and 1/{hook.interval} of a look at {number}, '
              f'Swin-{cfg.model.backbone.arch}, {options.dtype}', 'the step alone',
              times['step'].seconds + times['look'].seconds / hook.interval,
              times['step'].seconds, 's', _GOAL, batch)
    row.details |= dict(
        interval=hook.interval, num_images=number,
        seconds_of_parts={name: timing.seconds for name, timing in times.items()},
        cpu_ratio=1 + times['look'].cpu_seconds / times['step'].cpu_seconds / hook.interval)
    yield row

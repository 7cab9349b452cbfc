"""Features for several tasks from one pass over the images."""

from collections.abc import Sequence

from torch import Tensor

from .pcmoe_swin import PCMoESwin


def stage_tasks(backbone: PCMoESwin, task: str, branch_stage: int, shared: str | Sequence[str]
                ) -> tuple[str | Sequence[str], ...]:
    """The entry per stage that makes a single pass what :func:`forward_tasks` gives for a task."""
    rest = backbone.num_stages - branch_stage
    return (shared, ) * branch_stage + (task, ) * rest


def forward_tasks(backbone: PCMoESwin, x: Tensor, tasks: Sequence[str], branch_stage: int = 0,
                  shared: str | Sequence[str] | None = None) -> dict[str, tuple[Tensor, ...]]:
    """Maps of images under the prompts of several tasks, computing once what they share.

    What precedes the PC-MoE of stage ``branch_stage`` is computed once: with 0 stem and blocks of
    the first stage, which no prompt touches, so the maps are those of separate passes. A later
    branch shares more, and the PC-MoEs before it see the prompt of ``shared`` instead of the
    task's own: the maps are those of separate passes under :func:`stage_tasks`.

    Args:
        backbone: Backbone with a PC-MoE.
        x: (B, 3, H, W).
        tasks: Names of tasks.
        branch_stage: The first stage whose PC-MoE is told the task.
        shared: Task, or tasks (their mean), of the stages before; by default all of ``tasks``.

    Returns:
        Task -> normed maps (B, C_i, H_i, W_i), as of the backbone; those of stages before
        ``branch_stage`` are the same tensors for all.

    Raises:
        ValueError: No task or an unknown one is named, there is no PC-MoE, or ``branch_stage`` is
            no stage that is computed.
    """
    if not getattr(backbone, 'has_moe', False):
        raise ValueError(f'{type(backbone).__name__} has no PC-MoE that is told a task: its maps '
                         'serve all tasks as they are')
    if not 0 <= branch_stage <= max(backbone.out_indices):
        raise ValueError(f'branch_stage={branch_stage} must lie between 0 and '
                         f'{max(backbone.out_indices)}, the last stage that is computed')
    if isinstance(tasks, str) or not tasks:
        raise ValueError(f'tasks={tasks!r} must be a list of one or several names')
    shared = tuple(tasks) if shared is None else shared
    first = stage_tasks(backbone, tasks[0], branch_stage, shared)
    maps, _, embedded = backbone.run_stages(backbone.embed(x), first, 0, branch_stage)
    return {task: maps + backbone.run_stages(embedded, task, branch_stage)[0] for task in tasks}

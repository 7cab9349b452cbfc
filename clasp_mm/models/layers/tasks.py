"""The pretext tasks, and the prompts that make up the prompt of each."""

from collections.abc import Sequence

import torch
from torch import Tensor

from clasp_mm.utils.names import did_you_mean

TASKS = ('appearance', 'part', 'attribute')
"""The three pretext tasks, in the order of their prompts."""

_TASK_ROWS = {
    2: ((1., 0.), (0., 1.), (0., 1.)),
    3: ((1., 0., 0.), (0., 1., 0.), (0., 0., 1.)),
    6: ((.5, .5, 0., 0., 0., 0.), (0., 0., .5, .5, 0., 0.), (0., 0., 0., 0., .5, .5)),
}


def task_index(task: str) -> int:
    """Position of a task in ``TASKS``; ValueError with the nearest name when unknown.

    >>> task_index('part')
    1
    """
    if task not in TASKS:
        raise ValueError(f'unknown task {task!r}: the tasks are {", ".join(TASKS)}'
                         + did_you_mean(task, TASKS))
    return TASKS.index(task)


def task_rows(num_prompts: int) -> Tensor:
    """:func:`task_weights` of each task alone, (3, M)."""
    if num_prompts not in _TASK_ROWS:
        raise ValueError(
            f'num_prompts={num_prompts} is not supported: 3 (one per task), 2 (part and attribute '
            'share one) or 6 (two per task)')
    return torch.tensor(_TASK_ROWS[num_prompts])


def mean_of_tasks(rows: Tensor, task: str | Sequence[str]) -> Tensor:
    """The mean (1, M) of the rows of some tasks, from those of all, (3, M)."""
    names = (task, ) if isinstance(task, str) else tuple(task)
    if not names:
        raise ValueError(f'no task named: the tasks are {", ".join(TASKS)}')
    # Slices: the host would copy an index to the device.
    chosen = [rows[index:index + 1] for index in map(task_index, names)]
    return chosen[0] if len(chosen) == 1 else torch.cat(chosen).mean(0, keepdim=True)


def task_weights(task: str | Sequence[str], num_prompts: int = 3) -> Tensor:
    """Weights of the prompts that make up the prompt of a task.

    With 3 prompts each task owns one; with 2, part and attribute share the second; with 6, each
    task owns two and uses their mean. Several tasks use the mean of their prompts.

    Args:
        task: A name of ``TASKS``, or several of them.
        num_prompts: Prompts M.

    Returns:
        (1, M) float32, sums to 1.

    Raises:
        ValueError: If a task is unknown, none is named, or M is not 2, 3 or 6.

    Example:
        >>> task_weights(('part', 'attribute'))
        tensor([[0.0000, 0.5000, 0.5000]])
    """
    return mean_of_tasks(task_rows(num_prompts), task)

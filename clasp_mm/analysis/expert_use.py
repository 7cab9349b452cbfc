"""Which experts the tasks use, stage by stage."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from clasp_mm.datasets import LUPerson
from clasp_mm.datasets.images import warn_unreadable
from clasp_mm.datasets.inputs import input_batches
from clasp_mm.evaluation.functional.conflict import expert_activation_divergence, expert_divergences
from clasp_mm.evaluation.task_conflict import expert_use as use_of_batch
from clasp_mm.models.layers import TASKS
from clasp_mm.utils.tables import markdown_table


def find_images(folder: str | os.PathLike) -> LUPerson:
    """Images of a folder or LMDB; of synthetic people, those of its list and no parsing maps."""
    listed = 'list.txt' if Path(folder, 'list.txt').is_file() else ''
    return LUPerson(os.fspath(folder), listed)


def expert_use(backbone: nn.Module, source: LUPerson, rows: Sequence[int],
               size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Mean gate of every expert under each task, {task: (stages, n)}.

    Args:
        backbone: Backbone with PC-MoE.
        source: The images.
        rows: Which of them; those that cannot be read are left out, counted and named in the log.
        size: (H, W) of the input.

    Raises:
        ValueError: The backbone has no PC-MoE, or no image can be read.
    """
    if not backbone.has_moe:
        raise ValueError('the backbone has no PC-MoE, and so no experts')
    total, count, unreadable = 0., 0, []
    for kept, images, faults in input_batches(source, rows, size, backbone):
        unreadable += faults
        if kept:
            total = total + use_of_batch(backbone, images) * len(kept)
            count += len(kept)
    if not count:
        raise ValueError('no image to see which experts are used'
                         + (f'; the first: {unreadable[0]}' if unreadable else ''))
    warn_unreadable(unreadable, len(rows))
    return dict(zip(TASKS, (total / count).cpu().numpy(), strict=True))


def summarize_use(use: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Expert use and its divergence as plain data.

    Returns:
        ``use``, task -> stages of n mean gates; ``ead``, their divergence over all stages and
        pairs; ``ead_of``, pair of tasks -> divergence in each stage.
    """
    tasks, gates = list(use), torch.from_numpy(np.stack(list(use.values())))
    return dict(
        ead=expert_activation_divergence(gates),
        ead_of={f'{tasks[a]} / {tasks[b]}': values.tolist()
                for (a, b), values in expert_divergences(gates).items()},
        use={task: value.tolist() for task, value in use.items()})


def ead_table(summary: Mapping[str, Any]) -> str:
    """Divergence of each pair and stage in Markdown, with the means."""
    rows = np.array(list(summary['ead_of'].values()))
    stages = [f'stage {i + 1}' for i in range(rows.shape[1])]
    named = (*zip(summary['ead_of'], rows, strict=True), ('mean', rows.mean(0)))
    return markdown_table(['EAD', *stages, 'mean'], [
        [name, *(f'{value:.3f}' for value in (*values, values.mean()))]
        for name, values in named])

"""Which experts the tasks use, stage by stage."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from clasp_mm.apis.features import batches
from clasp_mm.datasets import LUPerson
from clasp_mm.evaluation.functional.conflict import (
    expert_activation_divergence,
    expert_divergences,
)
from clasp_mm.evaluation.task_conflict import expert_use as use_of_batch
from clasp_mm.models.layers import TASKS


def find_images(folder: str | os.PathLike) -> list[str]:
    """Image files of a folder; of synthetic people, those of its list and no parsing maps."""
    listed = 'list.txt' if Path(folder, 'list.txt').is_file() else ''
    return [str(Path(folder, name)) for name in LUPerson(os.fspath(folder), listed).names]


def expert_use(backbone: nn.Module, paths: Sequence[str],
               size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Mean gate of every expert under each task, {task: (stages, n)}.

    Args:
        backbone: With PC-MoE.
        paths: Image files.
        size: (H, W) of the input.

    Raises:
        ValueError: The backbone has no PC-MoE, or there is no image.
    """
    if not backbone.has_moe:
        raise ValueError('the backbone has no PC-MoE, and so no experts')
    if not paths:
        raise ValueError('no image to see which experts are used')
    device = next(backbone.parameters()).device
    total = sum(use_of_batch(backbone, images) * len(images)
                for images in batches(paths, size, device)) / len(paths)
    return dict(zip(TASKS, total.cpu().numpy(), strict=True))


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
    lines = [f'| EAD | {" | ".join(stages)} | mean |', '|---' * (len(stages) + 2) + '|']
    for name, values in (*zip(summary['ead_of'], rows, strict=True), ('mean', rows.mean(0))):
        lines.append(f'| {name} | '
                     + ' | '.join(f'{value:.3f}' for value in (*values, values.mean())) + ' |')
    return '\n'.join(lines)

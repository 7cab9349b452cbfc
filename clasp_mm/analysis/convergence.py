"""Epochs and time that fine-tuning runs take to a score (CLASP, Table XIII)."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from clasp_mm.utils.files import read_logs
from clasp_mm.utils.tables import markdown_table


def read_validations(run: str | os.PathLike, metric: str) -> list[dict[str, float]]:
    """Validations of a run in the order of training, from the logs that MMEngine writes.

    The hours are those of the training steps before a validation: for each logged step the mean
    ``time`` over its logging interval, times the steps since the last logged one. Validation,
    saving and pauses are not in them, nor steps after the last logged one. What a resumed
    run trained twice counts once.

    Args:
        run: Work directory; all starts of the run in it are read.
        metric: Name of the score, such as ``reid/mAP`` or ``coco/AP``.

    Returns:
        ``epoch``, ``hours`` and ``score`` of each; the epoch is NaN where the run has none.

    Raises:
        FileNotFoundError: There is no log.
        ValueError: No validation has the metric; those that are logged are named.
    """
    rows = read_logs(run)
    if not rows:
        raise FileNotFoundError(f'nothing is logged in {run}/*/vis_data/scalars.json: give the '
                                'work directory of a run')
    times: dict[int, float] = {}
    epochs: dict[int, float] = {}
    scores: dict[int, float] = {}
    other: set[str] = set()
    for row in rows:
        if 'loss' in row:
            step = int(row.get('iter', row['step']))
            times[step], epochs[step] = row['time'], row.get('epoch', math.nan)
        elif metric in row:
            scores[int(row['step'])] = row[metric]
        else:
            other |= row.keys() - {'step', 'time', 'data_time'}
    if not scores:
        raise ValueError(f'no {metric!r} in the validations of {run}; logged are: '
                         f'{", ".join(sorted(other)) or "none"}')
    # MMEngine gives a validation the epoch as its step where training is by epoch; what hooks log
    # in between has the iteration.
    by_epoch = max(scores) <= max(epochs.values(), default=0)
    found = []
    for at in sorted(scores):
        hours, before = 0., 0
        for step in sorted(times):
            if (epochs[step] if by_epoch else step) <= at:
                hours += (step - before) * times[step] / 3600
                before = step
        epoch = float(at) if by_epoch else epochs.get(before, math.nan)
        found.append(dict(epoch=epoch, hours=hours, score=scores[at]))
    return found


def time_to_score(validations: Sequence[dict[str, float]], target: float,
                  lower_is_better: bool = False) -> dict[str, Any] | None:
    """The first validation at least as good as the target; None where there is none."""
    return next((row for row in validations if (
        row['score'] <= target if lower_is_better else row['score'] >= target)), None)


def convergence_table(runs: Mapping[str, Sequence[dict[str, float]]], metric: str, target: float,
                      lower_is_better: bool = False) -> str:
    """When each run reached the target, and its best and last score, as a table in Markdown."""
    best = min if lower_is_better else max
    lines = []
    for name, rows in runs.items():
        row = time_to_score(rows, target, lower_is_better)
        reached = (('-', 'not reached') if row is None else
                   (f'{row["epoch"]:g}', f'{row["hours"]:.4g}'))
        scores = [row['score'] for row in rows]
        lines.append([name, *reached, f'{best(scores):.2f}', f'{scores[-1]:.2f}'])
    return markdown_table(['run', f'epochs to {target:g}', f'hours to {target:g}',
                           f'best {metric}', f'last {metric}'], lines)

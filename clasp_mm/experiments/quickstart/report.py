"""The quickstart's report: a table on the console, report.json, and one page of figures."""

import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from clasp_mm.utils.files import write_json
from clasp_mm.version import __version__
from clasp_mm.visualization.figures import draw_expert_use, draw_losses, draw_part_iou
from clasp_mm.visualization.neighbours import Row
from clasp_mm.visualization.pages import write_page

METRICS = dict(mAP='re-identification mAP', rank1='rank-1', mIoU='part mIoU', mA='attribute mA')


def write_report(folder: Path, seeds: Sequence[Mapping[str, Any]],
                 steps: Mapping[str, Mapping[str, float]],
                 jobs: Mapping[str, Mapping[str, float]], setting: Mapping[str, Any],
                 pictures: Mapping[str, np.ndarray], neighbours: Sequence[Row], images: int,
                 logs: Mapping[str, Path], console: Console) -> dict[str, Any]:
    """Write ``report.json`` and ``report.html`` and print the table.

    Args:
        folder: Where the files go.
        seeds: Result of each seed: ``scores`` (model -> metrics; empty without ground truth),
            ``labels`` (see ``report_labels``), ``label_page``, ``published``, ``expert_use``.
        steps: Cost of a training step of each algorithm.
        jobs: Cost of each process.
        setting: What was run, as plain data.
        pictures: Title -> (H, W, 3) uint8 RGB, shown first.
        neighbours: Images with those that the published CLASP finds nearest.
        images: Among how many.
        logs: Title -> scalars file of a training, for the loss curves.
        console: Where the table is printed.

    Returns:
        What ``report.json`` holds.
    """
    summary = _summarize([seed['scores'] for seed in seeds])
    report = dict(
        clasp_mm_version=__version__, setting=dict(setting), machine=machine(), summary=summary,
        seeds=[{key: value for key, value in seed.items() if key != 'expert_use'}
               | {'expert_use': {task: np.round(use, 4).tolist()
                                 for task, use in seed['expert_use'].items()}}
               for seed in seeds],
        step_cost=dict(steps), job_cost=dict(jobs))
    write_json(folder / 'report.json', report)
    _write_page(folder, report, seeds, logs, pictures=pictures, neighbours=neighbours,
                searched=images)
    _print(console, summary, steps, seeds)
    return report


def _summarize(scores: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict]:
    """Mean and, over several seeds, standard deviation of each metric of each model."""
    return {model: {metric: dict(mean=float(np.mean(values)), std=float(np.std(values, ddof=1))
                                 if len(values) > 1 else None)
                    for metric in METRICS
                    for values in [[score[model][metric] for score in scores]]}
            for model in scores[0]}


def _show(value: Mapping[str, float | None]) -> str:
    spread = '' if value['std'] is None else f' ± {value["std"]:.1f}'
    return f'{value["mean"]:.1f}{spread}'


def machine() -> dict[str, Any]:
    """What the measurements were made on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return dict(platform=platform.platform(), cores=os.cpu_count(), gpu=gpu,
                torch=torch.__version__)


def _print(console: Console, summary: Mapping, steps: Mapping, seeds: Sequence[Mapping]) -> None:
    if summary:
        table = Table('held-out people', *METRICS.values(), title='CLASP quickstart')
        for model, metrics in summary.items():
            table.add_row(model, *(_show(metrics[metric]) for metric in METRICS))
        console.print(table)
    cost = Table('training step', 'ms', 'over DINO', 'peak of tensors')
    for name, value in steps.items():
        cost.add_row(name, f'{1000 * value["seconds"]:.0f}',
                     f'{value["seconds"] / steps["DINO"]["seconds"]:.2f}x',
                     f'{value["peak_memory_mb"]:.0f} MB')
    console.print(cost)
    for name, path in seeds[0]['published'].items():
        console.print(f'published {name}: {path}')


def _write_page(folder: Path, report: Mapping, seeds: Sequence[Mapping],
                logs: Mapping[str, Path], **values: Any) -> None:
    setting, first = report['setting'], seeds[0]
    labels, scores = first['labels'], first['scores']
    attributes = labels['attributes']
    write_page(
        folder / 'report.html', 'quickstart', 'CLASP quickstart', model=setting['model'],
        data=setting['data'], report=report, metrics=METRICS,
        summary={model: [_show(of[metric]) for metric in METRICS]
                 for model, of in report['summary'].items()},
        part_iou=draw_part_iou({model: score['part_iou'] for model, score in scores.items()})
        if scores else None,
        shown='Your images' if setting['images'] else 'Held-out people',
        commands=next_commands(setting, first['published']['CLASP']), labels=labels,
        label_shares={
            'images kept by the foreground filter': labels['kept']['foreground'],
            'images kept by the person filter': labels['kept']['person'],
            'foreground IoU': labels['foreground_iou'],
            'part IoU, mean over parts and k': labels['mean_iou'],
            'attributes kept': attributes['kept'],
            'attribute accuracy, of those kept': attributes['kept_accuracy'],
            'attribute accuracy, balanced': attributes['balanced_accuracy']},
        label_page=first['label_page'], expert_use=draw_expert_use(first['expert_use']),
        losses=draw_losses(logs), published=first['published'], **values)


def next_commands(setting: Mapping[str, Any], checkpoint: str) -> dict[str, str]:
    """What to do with the published CLASP -> the command, for the images that it was shown."""
    images = setting['images'] or os.path.join(setting['work_dir'], 'data', 'held_out', 'images')
    given = ['--checkpoint', checkpoint, '--size', *map(str, setting['input_size'])]
    return {what: shlex.join(['clasp', *command, *given]) for what, command in {
        'Features of your own images, and their neighbours':
            ['embed', images, '--task', 'appearance'],
        'Images that look like one of them': ['search', images, 'PICTURE.jpg'],
    }.items()}

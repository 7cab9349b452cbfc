"""The quickstart's report: a table on the console, report.json, and one page of figures."""

from __future__ import annotations

import html
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from clasp_mm.utils.files import write_json, write_text
from clasp_mm.version import __version__
from clasp_mm.visualization.figures import draw_expert_use, draw_losses, draw_part_iou
from clasp_mm.visualization.pages import REPORT_STYLE, html_page, html_table, inline_png

METRICS = dict(mAP='re-identification mAP', rank1='rank-1', mIoU='part mIoU', mA='attribute mA')


def write_report(folder: Path, seeds: Sequence[Mapping[str, Any]],
                 steps: Mapping[str, Mapping[str, float]],
                 jobs: Mapping[str, Mapping[str, float]], setting: Mapping[str, Any],
                 pictures: Mapping[str, np.ndarray], logs: Mapping[str, Path],
                 console: Console) -> dict[str, Any]:
    """Write ``report.json`` and ``report.html`` and print the table.

    Args:
        folder: Where the files go.
        seeds: Result of each seed: ``scores`` (model -> metrics; empty without ground truth),
            ``labels`` (see ``report_labels``), ``label_page``, ``published``, ``expert_use``.
        steps: Cost of a training step of each algorithm.
        jobs: Cost of each process.
        setting: What was run, as plain data.
        pictures: Title -> (H, W, 3) uint8 RGB, shown first.
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
    write_text(folder / 'report.html', _page(report, seeds, pictures, logs, folder))
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


def _page(report: Mapping, seeds: Sequence[Mapping], pictures: Mapping[str, np.ndarray],
          logs: Mapping[str, Path], folder: Path) -> str:
    summary, setting, first = report['summary'], report['setting'], seeds[0]
    body = ['<h1>CLASP quickstart</h1>',
            f'<p class="note">{html.escape(setting["description"])}</p>']
    if summary:
        body += ['<h2>Frozen features on held-out people</h2>', html_table(
            ('', *METRICS.values()),
            [(html.escape(model), *(_show(metrics[metric]) for metric in METRICS))
             for model, metrics in summary.items()]),
            '<p class="note">Percent; each task with its prompt. Re-identification: same identity '
            'and camera removed, cosine of the pooled last map. Parts and attributes: linear '
            'probes on frozen features, trained on the people of pretraining and scored on the '
            'held-out ones.</p>',
            inline_png(draw_part_iou({model: score['part_iou']
                                      for model, score in first['scores'].items()}))]
    for title, picture in pictures.items():
        body += [f'<h2>{html.escape(title)}</h2>', inline_png(picture)]
    body += ['<h2>Pseudo-labels</h2>', _label_summary(first['labels']),
             f'<p><a href="{quote(os.path.relpath(first["label_page"], folder))}">Images, '
             'regions, names and probabilities</a></p>',
             '<h2>Experts</h2><p class="note">Mean gate of every expert at every stage under each '
             'prompt.</p>', inline_png(draw_expert_use(first['expert_use'])),
             '<h2>Training</h2>', inline_png(draw_losses(logs)), _cost_table(report),
             '<h2>Published</h2>', html_table(
                 ('model', 'file'), [(html.escape(name), f'<code>{html.escape(path)}</code>')
                                     for name, path in first['published'].items()])]
    return html_page('CLASP quickstart', REPORT_STYLE, body)


def _label_summary(labels: Mapping[str, Any]) -> str:
    def percent(value: float | None) -> str:
        return '-' if value is None else f'{100 * value:.1f} %'

    attributes = labels['attributes']
    return html_table(('', ''), [
        ('CLIP', html.escape(labels['clip'])),
        ('images kept by the foreground filter', percent(labels['kept']['foreground'])),
        ('images kept by the person filter', percent(labels['kept']['person'])),
        ('foreground IoU', percent(labels['foreground_iou'])),
        ('part IoU, mean over parts and k', percent(labels['mean_iou'])),
        ('attributes kept', percent(attributes['kept'])),
        ('attribute accuracy, of those kept', percent(attributes['kept_accuracy'])),
        ('attribute accuracy, balanced', percent(attributes['balanced_accuracy']))])


def _cost_table(report: Mapping) -> str:
    steps = report['step_cost']
    rows = [(f'{name} step', f'{1000 * cost["seconds"]:.0f} ms',
             f'{cost["seconds"] / steps["DINO"]["seconds"]:.2f} x DINO',
             f'{cost["peak_memory_mb"]:.0f} MB of tensors')
            for name, cost in steps.items()]
    rows += [(f'process {html.escape(name)}', f'{cost["seconds"]:.0f} s', '',
              f'{cost["peak_memory_mb"]:.0f} MB') for name, cost in report['job_cost'].items()]
    machine = report['machine']
    return html_table(('', 'time', '', 'peak memory'), rows) + (
        f'<p class="note">{html.escape(machine["platform"])}, {machine["cores"]} cores, '
        f'{html.escape(machine["gpu"] or "no GPU")}, torch {machine["torch"]}. Steps: medians, by '
        'turns in one process. Processes run side by side.</p>')

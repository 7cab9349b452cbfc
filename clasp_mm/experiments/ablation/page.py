"""A table of results: Markdown, CSV, JSON and a plot."""

import csv
import io
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from clasp_mm.evaluation.frozen.tasks import METRICS, TASK_PROMPTS
from clasp_mm.evaluation.health import expert_load
from clasp_mm.models.layers import TASKS
from clasp_mm.utils.files import write_json, write_text
from clasp_mm.utils.tables import markdown_table, mean_std
from clasp_mm.visualization.analysis import draw_seeds, write_png

from ..quickstart.report import machine
from .claims import claims_table, judge_claims

SCORES = ('mAP', 'mIoU', 'mA', 'PCK', 'det AP', 'search mAP', 'HM')
_NAMES = {'mAP': 're-id mAP', 'mIoU': 'part mIoU', 'mA': 'attribute mA', 'PCK': 'pose PCK',
          'det AP': 'detection AP', 'search mAP': 'person search mAP', 'gcr': 'GCR', 'ead': 'EAD',
          'largest': 'largest expert, %', 'unused': 'unused experts, %',
          'parameters': 'parameters, M', 'step': 'ms a step'}
_LABELS = {'foreground_iou': 'foreground IoU', 'mean_iou': 'part IoU', 'kept': 'attributes kept',
           'kept_accuracy': 'their accuracy', 'balanced_accuracy': 'accuracy of all, balanced'}


def write_table(results: Mapping[str, Any], folder: Path) -> str:
    """Write ``TABLE.json``, ``.csv`` (a line a seed), ``.md`` and ``.png``.

    Args:
        results: Of :meth:`.run.Ablation.run`.
        folder: Where to.

    Returns:
        What the ``.md`` holds.
    """
    rows = {title: [columns(one) for one in seeds] for title, seeds in results['rows'].items()}
    name = results['table']
    report = dict(results, machine=machine(), command=shlex.join(sys.argv))
    sums = report.pop('sums')
    if name == 'systems':
        report['claims'] = judge_claims(results['rows'], sums)
    text = markdown(rows, report)
    lines = io.StringIO()
    table = csv.writer(lines, lineterminator='\n')
    keys = list(next(iter(rows.values()))[0])
    table.writerow(['row', 'seed', *keys])
    for title, seeds in rows.items():
        for seed, values in enumerate(seeds):
            table.writerow([title, seed, *('' if values[key] is None else values[key]
                                           for key in keys)])
    write_json(folder / f'{name}.json', report)
    write_text(folder / f'{name}.csv', lines.getvalue())
    write_text(folder / f'{name}.md', text)
    write_png(draw_seeds({_NAMES.get(key, key): {
        title: [values[key] for values in seeds if values[key] is not None]
        for title, seeds in rows.items()} for key in (*SCORES, 'gcr', 'ead')}),
        folder / f'{name}.png')
    return text


def columns(result: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures of one row and seed, in the table's order.

    The largest expert is that of the stage where it is largest.
    """
    step = result['step_seconds']
    largest, unused = (None, None) if result['expert_use'] is None else expert_load(
        torch.tensor(result['expert_use']))
    return dict({key: result['scores'][key] for key in SCORES}, gcr=result['gcr'],
                ead=result['ead'], largest=largest and 100 * largest,
                unused=unused and 100 * unused, parameters=result['parameters'] / 1e6,
                step=None if step is None else 1000 * step)


def markdown(rows: Mapping[str, Sequence[Mapping[str, float | None]]],
             report: Mapping[str, Any]) -> str:
    """The table, how every prompt does where it was asked, and what is needed to make it again."""
    keys = list(next(iter(rows.values()))[0])
    digits = {'gcr': '.2f', 'ead': '.2f', 'largest': '.0f', 'unused': '.0f', 'parameters': '.2f',
              'step': '.0f'}
    lines = [markdown_table(['', *(_NAMES.get(key, key) for key in keys)], [
        [title, *(mean_std([values[key] for values in seeds], digits.get(key, '.1f'))
                  for key in keys)] for title, seeds in rows.items()])]
    own = report['machine']
    lines += ['', f'`python {report["command"]}`: {report["seeds"]} seed(s), mean ± standard '
              f'deviation; {report["identities"]} synthetic people to pretrain on; frozen '
              f'features, percent; {own["cores"]} cores, {own["gpu"] or "no GPU"}, torch '
              f'{own["torch"]}. Steps were timed with other trainings beside them.']
    if claims := report.get('claims'):
        lines += ['', claims_table(claims)]
    if labels := report.get('labels'):
        lines += ['', 'Labels on held-out people, percent, by the teacher of stage 1:', '',
                  label_table(labels)]
    for title, seeds in report['rows'].items():
        if seeds[0]['under_prompt']:
            lines += ['', f'{title}, every task under every prompt:', '', prompt_table(seeds)]
    return '\n'.join(lines) + '\n'


def label_table(labels: Sequence[Mapping[str, Any]]) -> str:
    """How good the labels of each teacher are, mean and spread of the seeds."""
    return markdown_table(['epochs of the teacher', *_LABELS.values()], [
        [epoch, *(mean_std([one[key] and 100 * one[key] for one in labels
                            if one['epoch'] == epoch], '.1f') for key in _LABELS)]
        for epoch in sorted({one['epoch'] for one in labels})])


def prompt_table(seeds: Sequence[Mapping[str, Any]]) -> str:
    """Every task under each single prompt, with the task's own."""
    rows = []
    for task, key in METRICS.items():
        own = TASK_PROMPTS[task]
        used = mean_std([one['scores'][key] for one in seeds])
        rows.append([_NAMES[key], *(mean_std([one['under_prompt'][prompt][key] for one in seeds])
                                    for prompt in TASKS),
                     f'{own if isinstance(own, str) else " + ".join(own)}: {used}'])
    return markdown_table(['task', *TASKS, 'its prompt'], rows)

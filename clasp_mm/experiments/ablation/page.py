"""A table of results: Markdown, CSV, JSON and a plot."""

from __future__ import annotations

import csv
import io
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from clasp_mm.evaluation.frozen.tasks import METRICS, TASK_PROMPTS
from clasp_mm.models.layers import TASKS
from clasp_mm.utils.files import replacing
from clasp_mm.visualization.analysis import draw_seeds, write_png

from ..quickstart.report import machine

SCORES = ('mAP', 'mIoU', 'mA', 'PCK', 'det AP', 'search mAP', 'HM')
_NAMES = {'mAP': 're-id mAP', 'mIoU': 'part mIoU', 'mA': 'attribute mA', 'PCK': 'pose PCK',
          'det AP': 'detection AP', 'search mAP': 'person search mAP', 'gcr': 'GCR', 'ead': 'EAD',
          'parameters': 'parameters, M', 'step': 'ms a step'}


def write_table(results: Mapping[str, Any], folder: Path) -> str:
    """Write ``TABLE.json``, ``.csv`` (a line a seed), ``.md`` and ``.png``.

    Args:
        results: Of :func:`.run.run_ablation`.
        folder: Where to.

    Returns:
        What the ``.md`` holds.
    """
    rows = {title: [columns(one) for one in seeds] for title, seeds in results['rows'].items()}
    name = results['table']
    report = dict(results, machine=machine(), command=shlex.join(sys.argv))
    text = markdown(rows, report)
    lines = io.StringIO()
    table = csv.writer(lines, lineterminator='\n')
    keys = list(next(iter(rows.values()))[0])
    table.writerow(['row', 'seed', *keys])
    for title, seeds in rows.items():
        for seed, values in enumerate(seeds):
            table.writerow([title, seed, *('' if values[key] is None else values[key]
                                           for key in keys)])
    for suffix, content in (('json', json.dumps(report, indent=1)), ('csv', lines.getvalue()),
                            ('md', text)):
        with replacing(folder / f'{name}.{suffix}') as partial:
            partial.write_text(content, encoding='utf-8')
    write_png(draw_seeds({_NAMES.get(key, key): {
        title: [values[key] for values in seeds if values[key] is not None]
        for title, seeds in rows.items()} for key in (*SCORES, 'gcr', 'ead')}),
        folder / f'{name}.png')
    return text


def columns(result: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures of one row and seed, in the table's order."""
    step = result['step_seconds']
    return dict({key: result['scores'][key] for key in SCORES}, gcr=result['gcr'],
                ead=result['ead'], parameters=result['parameters'] / 1e6,
                step=None if step is None else 1000 * step)


def markdown(rows: Mapping[str, Sequence[Mapping[str, float | None]]],
             report: Mapping[str, Any]) -> str:
    """The table, how every prompt does where it was asked, and what is needed to make it again."""
    keys = list(next(iter(rows.values()))[0])
    lines = ['| | ' + ' | '.join(_NAMES.get(key, key) for key in keys) + ' |',
             '|---' * (len(keys) + 1) + '|']
    for title, seeds in rows.items():
        lines.append(f'| {title} | ' + ' | '.join(
            spread([values[key] for values in seeds], 2 if key in ('gcr', 'ead', 'parameters')
                   else 0 if key == 'step' else 1) for key in keys) + ' |')
    own = report['machine']
    lines += ['', f'`python {report["command"]}`: {report["seeds"]} seed(s), mean ± standard '
              f'deviation; {report["identities"]} synthetic people to pretrain on; frozen '
              f'features, percent; {own["cores"]} cores, {own["gpu"] or "no GPU"}, torch '
              f'{own["torch"]}. Steps were timed with other trainings beside them.']
    for title, seeds in report['rows'].items():
        if seeds[0]['under_prompt']:
            lines += ['', f'{title}, every task under every prompt:', '', *prompt_table(seeds)]
    return '\n'.join(lines) + '\n'


def prompt_table(seeds: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every task under each single prompt, with the task's own."""
    lines = ['| task | ' + ' | '.join(TASKS) + ' | its prompt |', '|---' * (len(TASKS) + 2) + '|']
    for task, key in METRICS.items():
        own = TASK_PROMPTS[task]
        cells = [spread([one['under_prompt'][prompt][key] for one in seeds], 1)
                 for prompt in TASKS]
        used = spread([one['scores'][key] for one in seeds], 1)
        lines.append(f'| {_NAMES[key]} | ' + ' | '.join(cells)
                     + f' | {own if isinstance(own, str) else " + ".join(own)}: {used} |')
    return lines


def spread(values: Sequence[float | None], digits: int) -> str:
    """Mean and, over several seeds, standard deviation; '-' where not defined."""
    known = [value for value in values if value is not None]
    if not known:
        return '-'
    text = f'{mean(known):.{digits}f}'
    return f'{text} ± {stdev(known):.{digits}f}' if len(known) > 1 else text

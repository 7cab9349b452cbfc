"""The page of a run: its health, its curves, its analyses and its files."""

import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from clasp_mm.evaluation.health import STATUS, judge
from clasp_mm.utils.files import read_json, read_rows
from clasp_mm.visualization.analysis_page import read_analyses
from clasp_mm.visualization.figures import draw_curves
from clasp_mm.visualization.pages import write_page

ANALYSES = 'analysis'  # folder inside a run's, of tables and pictures
# Panel -> its curves, by wildcards.
_PANELS = {
    'loss': ('loss', 'loss_*'),
    'learning rate': ('lr', 'base_lr'),
    'accuracy on pseudo-labels': ('part_accuracy', 'attr_accuracy', 'accepted'),
    'probes, %': ('probe/*',),
    'validation': ('val/*',),
    'targets, nats': ('health/information', 'health/target_entropy',
                      'health/mean_target_entropy', 'health/log_prototypes'),
    'effective rank': ('health/effective_rank',),
    'prompts and experts': ('health/prompt_distance', 'health/gate_distance',
                            'health/largest_expert', 'health/unused_experts'),
    'conflict of the tasks': ('conflict/gcr', 'conflict/ead'),
    'images a second': ('images_per_second',),
    'seconds a step': ('time', 'data_time'),
    'memory, MB': ('memory',),
}
_FILES = (
    ('resolved config', '*.py'), ('checkpoints', '*.pth'), ('published model', 'published/*'),
    ('metrics', 'metrics.jsonl'), ('environment of every start', 'environment.json'),
    ('git state of every start', 'git.json'), ('log', '*/*.log'), ('estimate', 'estimate.json'),
    ('images that could not be read', 'skipped_images.txt'), ('analyses', f'{ANALYSES}/*.json'))


def write_run_report(work_dir: str | os.PathLike) -> Path:
    """Write ``report.html`` from what lies in a run's folder, finished or not.

    Pictures are inside the page, also the tables and pictures of the folder ``analysis``.

    Args:
        work_dir: Folder that ``clasp_mm.RunRecordHook`` keeps.

    Returns:
        The page.

    Raises:
        FileNotFoundError: There is no ``metrics.jsonl``.
        ValueError: It, or a file of the starts, is damaged; names it.
    """
    folder = Path(work_dir)
    metrics = folder / 'metrics.jsonl'
    if not metrics.is_file():
        raise FileNotFoundError(f'no {metrics}: nothing was logged, or the run had no '
                                'clasp_mm.RunRecordHook')
    rows = read_rows(metrics)
    starts = _read(folder / 'environment.json')
    last = starts[-1] if starts else {}
    panels = {name: curves for name, patterns in _PANELS.items()
              if (curves := _matching(rows, patterns))}
    write_page(folder / 'report.html', 'run', folder.absolute().name,
               _summary(rows, starts, _read(folder / 'git.json')), last.get('model', ''),
               last.get('data', ''), last.get('command'), folder=folder, health=_health(rows),
               curves=draw_curves(rows, panels) if panels else None,
               analyses=read_analyses(folder / ANALYSES),
               files=[(title, path, path.stat().st_size) for title, pattern in _FILES
                      for path in sorted(folder.glob(pattern))])
    return folder / 'report.html'


def _matching(rows: Sequence[Mapping[str, Any]], patterns: Sequence[str]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _summary(rows: Sequence[Mapping[str, Any]], starts: Sequence[Mapping[str, Any]],
             commits: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    if rows:
        epochs = [row['epoch'] for row in rows if 'epoch' in row]
        parts.append(f'step {rows[-1]["step"]}' + (f', epoch {epochs[-1]}' if epochs else ''))
    if starts:
        last = starts[-1]
        machine = ', '.join(dict.fromkeys(last['gpus'])) or 'CPU'
        parts.append(f'started {starts[0]["started"]}'
                     + (f', {len(starts)} starts' if len(starts) > 1 else ''))
        parts.append(f'{last["processes"]} x {machine}, torch {last["versions"]["torch"]}, '
                     f'clasp_mm {last["versions"]["clasp_mm"]}')
    known = list(dict.fromkeys((entry['commit'][:10], entry['dirty']) for entry in commits
                               if entry['commit']))
    if known:
        parts.append('commit ' + ', '.join(f'{commit}{" with changes" if dirty else ""}'
                                           for commit, dirty in known))
    return '; '.join(parts)


def _health(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The last look and how the looks went; empty where there was none."""
    prefix = 'health/'
    looks = [row for row in rows if f'{prefix}status' in row]
    if not looks:
        return {}
    last = looks[-1]
    stats = {name.removeprefix(prefix): float('nan') if value is None else value
             for name, value in last.items() if name.startswith(prefix)}
    status = STATUS[int(stats.pop('status'))]
    return dict(status=status, step=last['step'], causes='; '.join(judge(stats).causes),
                stats=stats, counts={name: sum(int(row[f'{prefix}status']) == level
                                               for row in looks)
                                     for level, name in enumerate(STATUS)})


def _read(path: Path) -> list[dict]:
    return read_json(path) if path.exists() else []

"""Leaves a run's folder in the form that every run has."""

import json
import math
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from clasp_mm.registry import HOOKS
from clasp_mm.utils.files import append_row, locked, read_json, write_json, write_text

from ..checkpoints import checkpoint_to_resume
from ..provenance import describe_changes, environment, git_state
from ..run_report import write_run_report


@HOOKS.register_module()
class RunRecordHook(Hook):
    """Writes environment, git state, metrics and a page of figures into the work directory.

    ``environment.json`` and ``git.json`` hold a list, one entry for every start of the run.
    ``metrics.jsonl`` holds one line for every logged step, with all that was logged at it (the
    scalars that ``mmengine.LocalVisBackend`` writes, from all starts in one file); a value that is
    not finite is null. A validation has a line of its own, of the step that it followed. Where a
    run goes on from a checkpoint, the lines after it are dropped; if an epoch has another length
    from there, ``epoch_length``, the lines before are counted by it too, as by
    ``clasp_mm.ExactResumeHook``. A run that starts anew starts the file anew.
    ``report.html`` is written after the run.
    """

    priority = 'LOW'  # after what logs
    length: Mapping[str, int] = MappingProxyType({})  # of an epoch, where there are epochs
    saved: Mapping[str, int] | None = None  # where the checkpoint is, by its own length

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note where the run goes on."""
        self.saved = checkpoint['meta'].get('saved') if runner._resume else None

    def before_train(self, runner: Runner) -> None:
        """Record this start, and cut the metrics where it goes on."""
        if not is_main_process():
            return
        self.folder = Path(runner.work_dir)
        epochs = isinstance(runner.train_loop, EpochBasedTrainLoop)
        self.length = dict(epoch_length=len(runner.train_dataloader)) if epochs else {}
        self.scalars = Path(runner.log_dir) / 'vis_data' / 'scalars.json'
        self.offset = self.scalars.stat().st_size if self.scalars.exists() else 0
        start = dict(started=_now(), step=runner.iter)
        _add_start(self.folder / 'environment.json',
                   {**start, **_subject(runner.cfg), **environment()})
        code = record_code(self.folder, start)
        if code.get('dirty'):
            runner.logger.warning(
                f'publish_model will refuse this run, whose code is not committed '
                f'({describe_changes(code)}): commit and start again, or publish it with '
                '--allow-dirty')
        if damaged := cut_metrics(self.folder / 'metrics.jsonl', runner.iter, **self.length,
                                  saved=self.saved):
            runner.logger.warning(f'{self.folder / "metrics.jsonl"}: {damaged} damaged lines, as a '
                                  'power cut leaves, are dropped')
        if runner.iter == 0 and (other := checkpoint_to_resume(self.folder)):
            runner.logger.warning(
                f'{self.folder} holds checkpoints of another run: --resume would go on from the '
                f'one with the highest epoch, {other.name} now; remove them, or name another '
                '--work-dir')

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        """Take over what was logged at this step."""
        if not is_main_process():
            return
        step, values = runner.iter + 1, {}
        for row in self._new_scalars():
            if row.get('step') == step:
                values.update(row)
        if values:
            self._append(step, values)

    def after_val_epoch(self, runner: Runner, metrics: Mapping[str, float] | None = None) -> None:
        """Add the validation's metrics, as ``val/...``."""
        if is_main_process() and metrics:
            self._append(runner.iter, {f'val/{name}': value for name, value in metrics.items()})

    def after_train(self, runner: Runner) -> None:
        """Write the page, if anything was logged."""
        if is_main_process() and (self.folder / 'metrics.jsonl').is_file():
            write_run_report(self.folder)

    def _new_scalars(self) -> list[dict]:
        """Rows that were written since the last call."""
        if not self.scalars.exists():  # nothing was logged yet
            return []
        with open(self.scalars, 'rb') as file:
            file.seek(self.offset)
            data = file.read()
        self.offset += len(data)
        return [json.loads(line) for line in data.splitlines()]

    def _append(self, step: int, values: Mapping[str, Any]) -> None:
        row = {name: None if isinstance(value, float) and not math.isfinite(value) else value
               for name, value in values.items()}
        append_row(self.folder / 'metrics.jsonl', {**row, **self.length, 'step': step})


def record_code(folder: Path, start: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Add the :func:`~clasp_mm.engine.provenance.git_state` to a run's ``git.json``; return it.

    ``start`` is what else is known of this start; by default the time.
    """
    state = git_state() or dict(commit=None)
    _add_start(folder / 'git.json', {**(start or dict(started=_now())), **state})
    return state


def _subject(cfg: Mapping[str, Any]) -> dict[str, str]:
    """What is trained and on which data, in words."""
    model = cfg.get('model') or {}
    data = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    kinds = (model.get('type'), (model.get('backbone') or {}).get('type'))
    return dict(model=' on '.join(str(kind) for kind in kinds if kind),
                data=' '.join(str(data[key]) for key in ('type', 'data_root') if data.get(key)))


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


def cut_metrics(path: str | os.PathLike, step: int, epoch_length: int | None = None,
                saved: Mapping[str, int] | None = None) -> int:
    """Drop the rows after ``step`` from a metrics file, and what is no row.

    Rows of epochs of another length are first counted by ``epoch_length``.

    Args:
        path: The file.
        step: The last that stays.
        epoch_length: By which steps are counted.
        saved: ``step`` as counted by another ``epoch_length``, exactly; else the share tells.

    Returns:
        How many lines were no rows, but for a last one that a kill cut off.
    """
    path = Path(path)
    if not path.exists():
        return 0
    lines = path.read_text('utf-8', 'replace').splitlines(keepends=True)
    kept, damaged = [], 0
    for line in lines:
        try:
            row = json.loads(line)
            row['step'] = int(row['step'])
        except (ValueError, TypeError, KeyError, RecursionError):
            damaged += line.endswith('\n')
            continue
        length = row.get('epoch_length')
        stays = row['step'] <= step
        if epoch_length and isinstance(length, int) and 0 < length != epoch_length:
            counted = -(-row['step'] * epoch_length // length)
            stays = counted <= step
            if saved is not None and saved['epoch_length'] == length:
                stays = row['step'] <= saved['step']
            row.update(step=min(counted, step), epoch_length=epoch_length)
            line = json.dumps(row) + line[len(line.rstrip('\n')):]
        if line.endswith('\n') and stays:
            kept.append(line)
    if kept != lines:
        write_text(path, ''.join(kept))
    return damaged


def _add_start(path: Path, entry: Mapping[str, Any]) -> None:
    with locked(path):
        starts = read_json(path) if path.exists() else []
        write_json(path, [*starts, entry])

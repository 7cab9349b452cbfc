"""What a published model was trained and scored on, and how: without it no number can be compared.

======================  ==========================================================================
task                    a value of :data:`~clasp_mm.zoo.index.TASKS`
data_hash               of what it was trained on: 8 digits of the SHA-256 of the annotation or
                        list files; where there are none, of all names and sizes of files
split_hash              of what it was scored on, likewise, with the arguments of the data set
input_size              height x width
flip_test, rerank       whether a mirrored image was averaged in; arguments of re-ranking, or False
selection               which checkpoint: the last, of an epoch, or the best by what on which split
code_licence            of this library
data_licence            of the training data
seed, ema               of the run; whether the weights are the averaged ones
clasp_mm_version, git   of the publishing library; commit that the run started from, and whether
                        anything differed from it (``dirty``), where the run recorded it
======================  ==========================================================================

None is "not known": the data are not there any more, or the run did not record it.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from clasp_mm.datasets.images import list_files
from clasp_mm.models.weights.trained_with import config_size
from clasp_mm.utils.files import HASH_DIGITS, read_json, read_logs
from clasp_mm.version import __version__

from .index import model_task

CODE_LICENCE = 'Apache-2.0'
# Arguments of a data set that do not change what is in it.
_NOT_PROTOCOL = frozenset({'pipeline', 'data_root', 'ann_file', 'bbox_file', 'data_prefix',
                           'metainfo', 'backend_args', 'lazy_init', 'serialize_data', 'test_mode',
                           '_scope_'})
_NO_METRICS = frozenset({'step', 'time', 'data_time', 'memory', 'epoch', 'iter'})


def make_passport(cfg: Config, checkpoint: Path, meta: Mapping[str, Any], ema: bool,
                  data_licence: str | None, part: str = 'val',
                  scored_on: str | os.PathLike | None = None, tta: bool = False
                  ) -> dict[str, Any]:
    """The passport of a checkpoint.

    Args:
        cfg: The run's config.
        checkpoint: The run's file, beside what the run recorded.
        meta: The checkpoint's ``meta``.
        ema: Whether its weights are averaged.
        data_licence: Terms of the training data.
        part: Its results are of the config's ``'val'`` or ``'test'`` data.
        scored_on: Where they are of other data: their list or annotation file, or folder.
        tta: Whether they are of the config's test-time augmentation.

    Raises:
        FileNotFoundError: There is nothing at ``scored_on``.
    """
    loaders = {name: (cfg.get(f'{name}_dataloader') or {}).get('dataset')
               for name in ('train', 'val', 'test')}
    split_hash = dataset_hash(loaders[part])
    if scored_on is not None:
        split_hash = files_hash([Path(scored_on)])
        if split_hash is None:
            raise FileNotFoundError(f'no file, and no folder with files, at {scored_on}: name the '
                                    'data that the results are of (--scored-on)')
    size = config_size(cfg)
    return dict(
        task=model_task(cfg.model),
        data_hash=dataset_hash(loaders['train']),
        split_hash=split_hash,
        input_size=size and '{}x{}'.format(*size),
        flip_test=bool((cfg.model.get('test_cfg') or {}).get('flip_test', False)
                       or (tta and 'flip' in str(cfg.get('tta_pipeline')).lower())),
        rerank=_rerank(cfg.get(f'{part}_evaluator')),
        selection=_selection(cfg, checkpoint, meta, dataset_hash(loaders['val']) == split_hash),
        code_licence=CODE_LICENCE,
        data_licence=data_licence,
        seed=meta.get('seed'),
        ema=ema,
        clasp_mm_version=__version__,
        git=run_git(checkpoint.parent))


def dataset_hash(dataset: Mapping[str, Any] | None) -> str | None:
    """Hash of the data that a config's dataset, or those in it, read; None where any is missing."""
    if not dataset:
        return None
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    if inner:
        hashes = [dataset_hash(one) for one in inner]
        return None if None in hashes else _digest(''.join(hashes))
    root = Path(os.path.expanduser(str(dataset.get('data_root') or '')))
    given = [dataset[key] for key in ('ann_file', 'bbox_file') if dataset.get(key)]
    paths = [Path(str(name)) for name in given]
    paths = [path if path.is_absolute() or path.exists() else root / path for path in paths]
    if not paths:
        prefix = dataset.get('data_prefix') or {}
        folders = [prefix] if isinstance(prefix, str) else list(prefix.values())
        paths = [root / str(folder) for folder in folders if folder] or [root]
    found = files_hash(paths, contents=bool(given))
    settings = {key: value for key, value in dataset.items()
                if key not in _NOT_PROTOCOL and value is not None}
    settings['type'] = str(settings.get('type')).rsplit('.', 1)[-1]
    return found and _digest(found + json.dumps(settings, sort_keys=True, default=str))


def files_hash(paths: list[Path], contents: bool | None = None) -> str | None:
    """Hash of files: their contents, or their names and sizes.

    Args:
        paths: Files, or folders with all below them that
            :func:`~clasp_mm.datasets.images.list_files` names.
        contents: Whether contents of folders are hashed too; by default only those of files.

    Returns:
        8 hexadecimal digits; None where one is missing, or they hold nothing.
    """
    digest, empty = hashlib.sha256(), True
    for path in paths:
        if not path.exists():
            return None
        try:
            names = [''] if path.is_file() else list_files(path)
        except FileNotFoundError:  # it cannot be entered
            return None
        for name in names:
            empty, file = False, path / name
            digest.update(os.fsencode(name) + b'\0%d\n' % file.stat().st_size)
            if contents or (contents is None and path.is_file()):
                with open(file, 'rb') as stream:
                    while chunk := stream.read(1 << 20):
                        digest.update(chunk)
    return None if empty else digest.hexdigest()[:HASH_DIGITS]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]


def _rerank(evaluator: Any) -> str | bool:
    """Of the first evaluator that has it: its arguments."""
    evaluators = evaluator if isinstance(evaluator, list | tuple) else [evaluator or {}]
    found = next((one['rerank'] for one in evaluators if one.get('rerank')), False)
    if isinstance(found, Mapping):
        return ', '.join(f'{key}={value}' for key, value in found.items())
    return bool(found)


def _selection(cfg: Config, checkpoint: Path, meta: Mapping[str, Any], scored: bool) -> str:
    if match := re.match(r'best_(.+)_(?:epoch|iter)_\d+$', checkpoint.stem):
        save_best = cfg.get('default_hooks', {}).get('checkpoint', {}).get('save_best')
        names = [save_best] if isinstance(save_best, str) else save_best or []
        metric = next((name for name in names if name.replace('/', '_') == match[1]), match[1])
        split = 'the split that is scored' if scored else 'val, not the split that is scored'
        return f'best {metric} on {split}'
    loop = cfg.get('train_cfg') or {}
    for unit in ('epoch', 'iter'):
        if last := loop.get(f'max_{unit}s'):
            done = meta.get(unit)
            return 'last' if done == last else f'{unit} {done} of {last}'
    return checkpoint.stem


def run_git(folder: Path) -> dict[str, Any] | None:
    """Commit of a run's last start, and whether the code of any of them differed from its own."""
    starts = _starts(folder)
    if not starts or not starts[-1].get('commit'):
        return None
    return dict(commit=starts[-1]['commit'], dirty=any(start.get('dirty') for start in starts))


def run_changes(folder: Path) -> dict[str, Any] | None:
    """State of the code at a run's last start whose code was not committed, if there is one."""
    return next((start for start in reversed(_starts(folder)) if start.get('dirty')), None)


def _starts(folder: Path) -> list[dict[str, Any]]:
    path = folder / 'git.json'
    return read_json(path) if path.is_file() else []


def logged_results(folder: Path, step: int | None, metric: str | None) -> dict[str, float]:
    """The metrics of a checkpoint's own validation, ``metric`` first, from the logs of its run.

    ``step`` is the checkpoint's epoch, or its iteration where the run counts those.
    """
    found: dict[str, float] = {}
    for row in read_logs(folder):
        if 'lr' in row or row.get('step') != step:
            continue
        values = {key: value for key, value in row.items()
                  if key not in _NO_METRICS and isinstance(value, int | float)}
        if values and (metric is None or metric in values):
            found = values
    names = sorted(found, key=lambda name: name != metric)  # stable
    return {name.rsplit('/', 1)[-1]: float(f'{found[name]:.4g}') for name in names}

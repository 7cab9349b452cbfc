"""From a training checkpoint to a file that can be shared."""

import hashlib
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import date
from glob import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS as HOST_MODELS
from mmengine.registry import DefaultScope
from safetensors.torch import save as to_safetensors
from torch import Tensor

from clasp_mm.compat import SAFETENSORS_META, SAFETENSORS_SUM, load_file, safetensors_sum
from clasp_mm.engine.checkpoints import last_checkpoint
from clasp_mm.engine.provenance import describe_changes, git_state
from clasp_mm.engine.run_report import write_run_report
from clasp_mm.models.weights.coverage import check_finite, check_weights
from clasp_mm.models.weights.find import FILE_NAME
from clasp_mm.models.weights.swin import load_backbone
from clasp_mm.models.weights.trained_with import config_size, meta_of
from clasp_mm.pseudo_labels.store import LabelStore
from clasp_mm.registry import MODELS
from clasp_mm.utils.config_text import config_differences, read_config_text
from clasp_mm.utils.files import HASH_DIGITS, replacing
from clasp_mm.version import __version__

from .config import buildable, read_zoo_config
from .entry import About, make_entry, write_entry
from .index import TASKS, model_task
from .passport import logged_results, make_passport, run_changes


class _Weights(NamedTuple):
    """What is published of a model."""

    state: dict[str, Tensor]
    coverage: dict[str, Any]
    parameters: int  # of the backbone, or of the whole model


def publish_model(checkpoint: str | os.PathLike, name: str, out_dir: str | os.PathLike,
                  config: str | os.PathLike | None = None, *, about: About | None = None,
                  results: Mapping[str, Mapping[str, Any]] | None = None, part: str = 'val',
                  scored_on: str | os.PathLike | None = None, tta: bool = False,
                  allow_dirty: bool = False, pth: bool = True, safetensors: bool = True,
                  half: bool = False) -> Path:
    """Write a model as ``{name}_{date}-{sha8}.pth``: of pretraining the teacher's backbone with
    its prompts, of a task the whole model, with the averaged weights where the run averaged them.

    The file holds tensors and plain data only and loads with ``weights_only=True``. Beside it:
    the same as ``.safetensors``, under its own hash; the run's config, ``.py``; and ``.json``,
    which says how the model was made: passport (:mod:`~clasp_mm.zoo.passport`), results, config,
    coverage, versions. Each file is whole or not there; the same model published again keeps its
    name, date included.

    Args:
        checkpoint: Checkpoint of a run of :class:`clasp_mm.DINO`, :class:`clasp_mm.SOLIDER`,
            :class:`clasp_mm.CLASP` or any task's model.
        name: What the model is called.
        out_dir: Folder to write to.
        config: The run's config, which is run; by default the one MMEngine left beside the
            checkpoint, which is only read (:mod:`~clasp_mm.zoo.config`).
        about: What the model's entry in ``out_dir/metafile.yml`` says; None writes no entry.
        results: Key of :data:`~clasp_mm.zoo.index.TASKS`, or '' for the model's own ->
            metric -> value; by default what the run's logs have of the checkpoint's validation.
        part: ``'val'`` or ``'test'``: the config's data that the results are of.
        scored_on: See :func:`~clasp_mm.zoo.passport.make_passport`; so ``tta``.
        tta: The results are of the config's test-time augmentation.
        allow_dirty: Publish even where the config is not the checkpoint's own, the code of the
            run was not committed (the side-car says so), or its label store is damaged.
        pth: Write the ``.pth``.
        safetensors: Write the ``.safetensors``.
        half: Store floating-point numbers as float16, in half the bytes; a model that loads them
            computes as ever.

    Returns:
        Path of the ``.pth`` file, or of the ``.safetensors`` where that is the only one.

    Raises:
        FileNotFoundError: If there is no checkpoint, no single config beside it, or nothing at
            ``scored_on``.
        ValueError: If ``name`` is none of a file, neither file is asked for, or a number is too
            large for float16; if the checkpoint is dirty or facts for the metafile are missing
            (the message has all of that); or it does not fit its config, key by key, holds a NaN,
            or is not averaged where its run was.
        OSError: If the files cannot be written; names the file.

    Example:
        >>> path = publish_model('run/epoch_3.pth', 'mini', 'zoo')
        >>> sorted(file.suffix for file in path.parent.iterdir())
        ['.json', '.pth', '.py', '.safetensors']
    """
    if not (pth or safetensors):
        raise ValueError('neither .pth nor .safetensors is asked for: say one of them')
    if not FILE_NAME.fullmatch(name):
        raise ValueError(f'name {name!r} becomes that of files: letters, digits, "-", "_" and ".", '
                         'first a letter, a digit or "_"')
    checkpoint = Path(checkpoint)
    found = config is None
    config = find_config(checkpoint) if found else Path(config)
    cfg = read_zoo_config(config) if found else Config.fromfile(config)
    content = load_file(checkpoint)
    training = meta_of(content)
    refusals = config_refusals(cfg, entry=about is not None)
    differences = _config_differences(cfg, config, training, checkpoint)
    if not allow_dirty:
        refusals += _dirt(config, checkpoint, differences) + _damaged_stores(cfg)
    if about is not None:
        about, missing = about.completed(name, config)
        refusals += missing
    if refusals:
        raise ValueError('\n'.join(refusals))
    if found:
        buildable(cfg)
    task = model_task(cfg.model)
    pretraining = task == TASKS['pretrain']
    ema = not pretraining and _is_averaged(cfg, content, checkpoint)
    weights = _backbone(cfg, checkpoint) if pretraining else _whole(cfg, checkpoint)
    state = _halved(weights.state, checkpoint) if half else weights.state
    passport = make_passport(cfg, checkpoint, training, ema, about and about.data_licence, part,
                             scored_on, tta)
    key_of_task = next(key for key, title in TASKS.items() if title == task)
    if results is None:
        results = {} if pretraining else {'': _logged(cfg, checkpoint, training)}
    results = {key or key_of_task: _plain(metrics) for key, metrics in results.items() if metrics}
    meta = dict(
        name=name, task=task, backbone=_plain(cfg.model.backbone),
        data_preprocessor=_plain(cfg.model.get('data_preprocessor') or {}),
        algorithm=str(cfg.model.type), clasp_mm_version=__version__, passport=passport,
        results=results, **{key: _plain(training[key]) for key in (
            'dataset_meta', 'verification') if not pretraining and training.get(key)})

    folder = Path(out_dir)
    files = {'.pth': _pth(state, meta)} if pth else {}
    if safetensors:
        files['.safetensors'] = _safetensors(state, meta)
    own = '.pth' if pth else '.safetensors'
    hashes = {suffix: hashlib.sha256(data).hexdigest()[:HASH_DIGITS]
              for suffix, data in files.items()}
    names = {suffix: _file_name(folder, name, sha, suffix) for suffix, sha in hashes.items()}
    target = folder / names[own]
    side_car = dict(
        meta, sha256_8=hashes[own], files=list(names.values()), parameters=weights.parameters,
        coverage=weights.coverage, epoch=training.get('epoch'), iter=training.get('iter'),
        seed=training.get('seed'),
        data=_plain({key: value for key, value in cfg.train_dataloader.dataset.items()
                     if key != 'pipeline'}),
        training_data=about.data if about else None, config_differences=differences,
        git=git_state(), torch_version=torch.__version__, config=_plain(cfg.to_dict()))
    files['.json'] = json.dumps(side_car, indent=2).encode()
    files['.py'] = _resolved(cfg, config).encode()
    entry = None if about is None else make_entry(
        name, cfg, about, passport, results, target, names.get('.safetensors') if pth else None)
    for suffix, data in sorted(files.items(), key=lambda file: file[0] == own):
        with replacing(folder / names.get(suffix, target.with_suffix(suffix).name)) as partial:
            partial.write_bytes(data)
    if entry is not None:
        write_entry(folder, entry)
    return target


def _file_name(folder: Path, name: str, sha: str, suffix: str) -> str:
    """Under an earlier day, where the folder has the same bytes already."""
    known = sorted(folder.glob(f'{escape(name)}_{"[0-9]" * 8}-{sha}{suffix}'))
    return known[0].name if known else f'{name}_{date.today():%Y%m%d}-{sha}{suffix}'


def config_refusals(cfg: Config, entry: bool = True) -> list[str]:
    """Why models of a config are not published, in sentences; what holds before it is trained.

    With ``entry``, the model is to have an entry in the metafile.
    """
    found = []
    if model_task(cfg.model) is None:
        found.append(f'the task of a model of type {cfg.model.type} is not known; known are those '
                     f'of {", ".join(TASKS)}')
    if entry and config_size(cfg) is None:
        found.append("no step of the config's test data has an input_size, scale or size, and a "
                     'model of the zoo has to say its input size')
    return found


def find_config(checkpoint: Path) -> Path:
    """The config that MMEngine left beside a training checkpoint."""
    found = sorted(checkpoint.parent.glob('*.py'))
    if len(found) != 1:
        raise FileNotFoundError(f'{len(found)} configs beside {checkpoint}; name the one it was '
                                'trained with (--config)')
    return found[0]


def publish_run(work_dir: str | os.PathLike, config: str | os.PathLike) -> Path:
    """Publish the last checkpoint of a finished run into ``work_dir/published``.

    A file of one's own: the code of the run may differ from what is committed.

    Args:
        work_dir: The run's folder.
        config: The run's config, whose name the model gets, with ``_`` for what no model's has.

    Returns:
        Path of the ``.pth`` file.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: As :func:`publish_model`.
    """
    folder = Path(work_dir)
    checkpoint = last_checkpoint(folder)
    if checkpoint is None:
        raise FileNotFoundError(f'no checkpoint in {folder} to publish')
    name = re.sub(r'^[.-]|[^A-Za-z0-9._-]', '_', Path(config).stem)
    target = publish_model(checkpoint, name, folder / 'published', config, allow_dirty=True)
    if (folder / 'metrics.jsonl').is_file():
        write_run_report(folder)  # with the link to it
    return target


def _resolved(cfg: Config, config: Path) -> str:
    """The config's text without bases: the file's own where it has none."""
    text = config.read_text(encoding='utf-8')
    try:
        read_config_text(text)
    except ValueError:
        return cfg.pretty_text
    return text


def _config_differences(cfg: Config, config: Path, training: Mapping[str, Any], checkpoint: Path
                        ) -> list[str]:
    """Where the config is not the checkpoint's own, if that is known."""
    if not training.get('cfg'):
        return []
    try:
        stored = read_config_text(training['cfg'])
    except ValueError as error:
        return [f'the config in the checkpoint cannot be read: {error}']
    other, wanted = model_task(stored.get('model', {})), model_task(cfg.model)
    if wanted is not None and other not in (None, wanted):
        raise ValueError(f'{checkpoint} is of another task, {other}, and {config} is for {wanted}: '
                         'give the config that it was trained by')
    return config_differences(cfg.to_dict(), stored)


def _dirt(config: Path, checkpoint: Path, differences: Sequence[str]) -> list[str]:
    """What of a checkpoint nobody could get again, in sentences."""
    found = []
    if differences:
        more = [f'... ({len(differences)})'] if len(differences) > 5 else []
        found.append('\n  '.join([
            f'{config} is not the config that {checkpoint} was trained by; give the one in its '
            'work directory, or publish it all the same with --allow-dirty:',
            *differences[:5], *more]))
    if start := run_changes(checkpoint.parent):
        found.append(f'{checkpoint} is of a run from code that was not committed, which nobody can '
                     f'get ({describe_changes(start)}): commit and train again, or publish it all '
                     'the same with --allow-dirty')
    return found


def _damaged_stores(cfg: Config) -> list[str]:
    """What is wrong with the label stores that a run read, where they are still there."""
    faults = []
    for step in cfg.get('train_dataloader', {}).get('dataset', {}).get('pipeline') or ():
        store = step.get('store') if str(step.get('type')).endswith('CLIPPseudoLabeler') else None
        if store is not None and Path(store).is_dir():
            try:
                LabelStore(store).verify()
            except ValueError as error:
                faults.append(f'{error}; the run may have learned from it, publish it all the same '
                              'with --allow-dirty')
    return faults


def _is_averaged(cfg: Config, content: Mapping[str, Any], checkpoint: Path) -> bool:
    """Whether ``state_dict`` has the averaged weights, which EMAHook swaps in when it saves."""
    hooks = cfg.get('custom_hooks') or ()
    if not any(str(hook.get('type')).endswith('EMAHook') for hook in hooks):
        return False
    if 'ema_state_dict' not in content:
        raise ValueError(f'the run averaged its weights (EMAHook), and {checkpoint} has no '
                         'ema_state_dict: nothing says that its weights are the averaged ones; '
                         'publish the file that the run saved')
    return True


def _backbone(cfg: Config, checkpoint: Path) -> _Weights:
    backbone = MODELS.build(_plain(cfg.model.backbone))
    report = load_backbone(backbone, checkpoint)
    state = {f'backbone.{key}': _own(value) for key, value in backbone.state_dict().items()}
    return _Weights(state, report.to_dict(), sum(p.numel() for p in backbone.parameters()))


def _whole(cfg: Config, checkpoint: Path) -> _Weights:
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        model = HOST_MODELS.build(deepcopy(cfg.model))  # hosts add their defaults to it
    state = {key: _own(value)
             for key, value in check_weights(model, checkpoint)['state_dict'].items()}
    check_finite(state, checkpoint)
    coverage = dict(source=str(checkpoint), matched=list(state), missing=[], unexpected=[])
    return _Weights(state, coverage, sum(p.numel() for p in model.parameters()))


def _halved(state: Mapping[str, Tensor], checkpoint: Path) -> dict[str, Tensor]:
    halved = {key: value.half() if value.is_floating_point() else value
              for key, value in state.items()}
    large = [key for key, value in halved.items() if not torch.isfinite(value).all()]
    if large:
        raise ValueError(f'{checkpoint} holds numbers that float16 does not have in '
                         f'{", ".join(large[:4])}: publish it without --half')
    return halved


def _own(value: Tensor) -> Tensor:
    """In memory of its own: a view would be saved with all that it is a view of."""
    return value.detach().cpu().clone(memory_format=torch.contiguous_format)


def _pth(state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(dict(state_dict=dict(state), meta=dict(meta)), buffer)
    return buffer.getvalue()


def _safetensors(state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> bytes:
    zeros = '0' * 64
    data = to_safetensors(dict(state), {  # one key: more have no order
        SAFETENSORS_META: json.dumps({SAFETENSORS_SUM: zeros, **meta})})
    return data.replace(zeros.encode(), safetensors_sum(data).encode(), 1)


def _logged(cfg: Config, checkpoint: Path, training: Mapping[str, Any]) -> dict[str, float]:
    save_best = cfg.get('default_hooks', {}).get('checkpoint', {}).get('save_best')
    metric = save_best if isinstance(save_best, str) and save_best != 'auto' else None
    unit = 'epoch' if (cfg.get('train_cfg') or {}).get('max_epochs') else 'iter'
    return logged_results(checkpoint.parent, training.get(unit), metric)


def _plain(value: Any) -> Any:
    """The value as dicts, lists, numbers, text: what JSON has, but whole numbers may be keys."""
    if isinstance(value, Mapping):
        return {key if isinstance(key, int) else str(key): _plain(one)
                for key, one in value.items()}
    if isinstance(value, np.ndarray | np.generic | Tensor):
        return value.tolist()
    if isinstance(value, Sequence | set) and not isinstance(value, str | bytes):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | None) else str(value)

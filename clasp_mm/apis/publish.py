"""From a training checkpoint to a file that can be shared."""

from __future__ import annotations

import hashlib
import io
import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint

from clasp_mm.compat import load_file
from clasp_mm.engine.provenance import git_state
from clasp_mm.engine.run_report import write_run_report
from clasp_mm.files import HASH_DIGITS, replacing
from clasp_mm.models.checkpoint import load_backbone
from clasp_mm.registry import MODELS
from clasp_mm.version import __version__


def publish_model(checkpoint: str | os.PathLike, name: str, out_dir: str | os.PathLike,
                  config: str | os.PathLike | None = None) -> Path:
    """Write a pretrained teacher's backbone, with its prompts, as ``{name}_{date}-{sha8}.pth``.

    The file holds tensors and plain data only and loads with ``weights_only=True``. A side-car
    ``.json`` of the same stem says how it was made: resolved config, data, git state, coverage,
    hash, versions. Each file is whole or not there.

    Args:
        checkpoint: A checkpoint of :class:`clasp_mm.DINO`, :class:`clasp_mm.SOLIDER` or
            :class:`clasp_mm.CLASP`.
        name: What the file is called.
        out_dir: Folder to write to.
        config: The run's config; by default the one MMEngine left beside the checkpoint.

    Returns:
        Path of the ``.pth`` file.

    Raises:
        FileNotFoundError: If there is no checkpoint, or no single config beside it.
        ValueError: If the checkpoint holds no teacher, does not fit its config, or holds a NaN.
        OSError: If the files cannot be written; names the file.
    """
    if not name or os.sep in name:
        raise ValueError(f'name {name!r} becomes a file name; letters, digits, "-" and "_"')
    checkpoint = Path(checkpoint)
    cfg = Config.fromfile(find_config(checkpoint) if config is None else config)
    backbone_cfg = _plain(cfg.model.backbone)
    backbone = MODELS.build(dict(backbone_cfg))
    report = load_backbone(backbone, checkpoint)
    meta = dict(
        name=name, backbone=backbone_cfg, data_preprocessor=_plain(cfg.model.data_preprocessor),
        algorithm=cfg.model.type, clasp_mm_version=__version__)
    state = {f'backbone.{key}': value.cpu() for key, value in backbone.state_dict().items()}

    buffer = io.BytesIO()
    torch.save(dict(state_dict=state, meta=meta), buffer)
    data = buffer.getvalue()
    sha = hashlib.sha256(data).hexdigest()[:HASH_DIGITS]
    target = Path(out_dir) / f'{name}_{date.today():%Y%m%d}-{sha}.pth'
    training = load_file(checkpoint).get('meta', {})
    side_car = dict(
        meta, sha256_8=sha, parameters=sum(p.numel() for p in backbone.parameters()),
        coverage=report.to_dict(), epoch=training.get('epoch'), iter=training.get('iter'),
        seed=training.get('seed'), data=_data(cfg), git=git_state(),
        torch_version=torch.__version__, config=_plain(cfg.to_dict()))
    with replacing(target.with_suffix('.json')) as partial:
        partial.write_text(json.dumps(side_car, indent=2))
    with replacing(target) as partial:
        partial.write_bytes(data)
    return target


def find_config(checkpoint: Path) -> Path:
    """The config that MMEngine left beside a training checkpoint."""
    found = sorted(checkpoint.parent.glob('*.py'))
    if len(found) != 1:
        raise FileNotFoundError(f'{len(found)} configs beside {checkpoint}; name the one it was '
                                'trained with (--config)')
    return found[0]


def publish_run(work_dir: str | os.PathLike, config: str | os.PathLike) -> Path:
    """Publish the last checkpoint of a finished run into ``work_dir/published``.

    Args:
        work_dir: The run's folder.
        config: The run's config, whose name the model gets.

    Returns:
        Path of the ``.pth`` file.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: As :func:`publish_model`.
    """
    folder = Path(work_dir)
    checkpoint = find_latest_checkpoint(str(folder))
    if checkpoint is None:
        raise FileNotFoundError(f'no checkpoint in {folder} to publish')
    target = publish_model(checkpoint, Path(config).stem, folder / 'published', config)
    if (folder / 'metrics.jsonl').is_file():
        write_run_report(folder)  # with the link to it
    return target


def _plain(value: Any) -> Any:
    """The value as JSON has it: dicts, lists, numbers, text."""
    return json.loads(json.dumps(value, default=str))


def _data(cfg: Config) -> dict:
    dataset = cfg.train_dataloader.dataset
    return _plain({key: value for key, value in dataset.items() if key != 'pipeline'})

"""One call to a working backbone."""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from torch import nn

from clasp_mm.compat import load_file
from clasp_mm.datasets.inputs import MEAN, STD
from clasp_mm.models.weights.find import HASHED_NAME, find_weights
from clasp_mm.models.weights.swin import load_backbone
from clasp_mm.models.weights.trained_with import (
    check_statistics,
    meta_of,
    published_backbone,
    trained_statistics,
)
from clasp_mm.registry import MODELS

from .config import entry_config, open_config
from .index import TASKS, model_task, near_models, read_zoo, task_of_types


def get_model(source: str | os.PathLike | Config,
              pretrained: str | os.PathLike | bool | None = None,
              task: str | Sequence | None = None, **overrides) -> nn.Module:
    """Build a backbone and load its weights, ready for inference.

    Args:
        source: A name of the model zoo (:func:`list_models`), a published file (``.pth`` or
            ``.safetensors``), the name of one in ``CLASP_ZOO``, one on the Hugging Face hub
            (``hf-hub:OWNER/NAME[@REVISION]``), a run's checkpoint, or a config (``.py``, or read
            already) with a backbone in its model. Of a fine-tuned model the backbone is taken.
        pretrained: None takes the model's own weights; a config has none and gives random weights.
            False gives random weights. Otherwise weights for a config or a name of the zoo:
            published file, its address, repository of the hub or name, or training checkpoint.
        task: ``'appearance'``, ``'part'``, ``'attribute'``, several of them, or one per stage, of
            a backbone with PC-MoE; given none, it must be told at every forward.
        **overrides: Backbone arguments to change, as ``out_indices=(0, 1, 2, 3)``, or to give, as
            ``semantic_weight=0.2`` to SOLIDER's. A warning tells where the features are not those
            that the weights were trained for.

    Returns:
        The backbone in evaluation mode, on the CPU (``.to(device)`` moves it): images (B, 3, H, W),
        RGB normalised by its ``mean`` and ``std``, to a tuple of maps (B, C_i, H_i, W_i). Both
        are those of its training, ImageNet's where neither the weights nor the config tell.

    Raises:
        FileNotFoundError: If there is no such file or name, or no weights of it; near names are
            offered.
        ValueError: If the file is damaged, does not say what its backbone is, is of another task
            than the config, or does not fit; or ``task`` is given to a backbone without PC-MoE.

    Example:
        >>> backbone = get_model('clasp_pcmoe-swin-nano_1xb32_synthetic-64x32', pretrained=False,
        ...                      task='part', out_indices=(3, ))
        >>> [tuple(maps.shape) for maps in backbone(torch.zeros(1, 3, 64, 32))]
        [(1, 256, 2, 1)]
    """
    cfg, weights = _find(source, pretrained)
    told = {}
    if weights is not None:
        content = load_file(weights)
        told = trained_statistics(content, weights)
        if cfg is None:
            backbone = published_backbone(content, weights)
            if backbone is None:
                raise ValueError(f'{weights} is no published model of clasp_mm and no checkpoint '
                                 'of a run, and does not say what its backbone is: give get_model '
                                 'its config and pretrained=')
            cfg = Config(dict(model=dict(backbone=backbone)))
        else:
            check_task(content, weights, cfg)
    backbone = cfg.get('model', {}).get('backbone')
    if backbone is None:
        raise ValueError(f'{cfg.filename or source} has no model.backbone')
    overrides = overrides if task is None else dict(overrides, task=task)
    try:
        model = MODELS.build({**backbone, 'init_cfg': None, **overrides})
    except TypeError as error:
        if not overrides and cfg.filename:  # of a config that is run: with all that led to it
            raise
        what = f'does not take {", ".join(overrides)}' if overrides else 'cannot be built'
        raise ValueError(f'the backbone of {cfg.filename or source}, {backbone["type"]}, {what}: '
                         f'{error}') from error
    if task is not None and not model.has_moe:
        raise ValueError(f'task={task!r}, but the backbone of {cfg.filename or source} has no '
                         'PC-MoE, so no prompt: leave task out')
    if weights is not None and pretrained is not False:
        report = load_backbone(model, weights)
        if report.differing:
            print_log(str(report), 'current', logging.WARNING)
    told = told or check_statistics(cfg.model.get('data_preprocessor'), cfg.filename or source)
    model.mean, model.std = told.get('mean', MEAN), told.get('std', STD)
    return model.eval()


def _find(source: str | os.PathLike | Config, pretrained: str | os.PathLike | bool | None
          ) -> tuple[Config | None, Path | None]:
    """The config, which a published file has inside, and the weights."""
    given = find_weights(pretrained) if isinstance(pretrained, str | os.PathLike) else None
    if isinstance(source, Config) or Path(source).suffix == '.py':
        if pretrained is True:
            raise ValueError(f'{source} has no weights of its own: name a file in pretrained')
        return open_config(source), given
    file = Path(source).exists() or Path(source).name != str(source)
    entries = {} if file or HASHED_NAME.search(str(source)) else read_zoo()
    if entry := entries.get(str(source)):
        own = given is None and pretrained is not False
        return entry_config(entry, whole=False), entry_weights(entry) if own else given
    if given is not None:
        raise ValueError('pretrained goes with a config or a name of the zoo; a published model '
                         'has its weights')
    try:
        return None, find_weights(source)
    except FileNotFoundError as error:
        if not entries:
            raise
        raise FileNotFoundError(f'{error}; nor is there a model of the zoo by that name'
                                f'{near_models(str(source), entries)}') from error


def entry_weights(entry: Mapping[str, Any]) -> Path:
    """The published file of a model of the zoo."""
    if entry.get('Weights'):
        return find_weights(entry['Weights'])
    try:
        return find_weights(entry['Name'])
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'no weights of {entry["Name"]} are published: train it (mim train clasp_mm '
            f'{Path(entry["Config"]).name}) and put {entry["Name"]}_DATE-SHA8.pth into a folder of '
            'CLASP_ZOO, name a file in pretrained, or take random weights by pretrained=False'
            ) from error


def check_task(content: Any, path: Path, cfg: Config) -> None:
    """Refuse weights that were fine-tuned for something else."""
    found, wanted = trained_task(content), model_task(cfg.model)
    if found in TASKS.values() and found not in (TASKS['pretrain'], wanted):
        raise ValueError(f'{path} is of another task, {found}, and the config is for '
                         f'{wanted or cfg.model.type}: give the config that it was trained by')


def trained_task(content: Any) -> str | None:
    """A value of :data:`~.index.TASKS`, of what a file of weights was trained for.

    A published file says it; a run's checkpoint has its config, as text that is only searched, not
    run.
    """
    meta = meta_of(content)
    types = re.findall(r"\btype='([\w.]+)'", str(meta.get('cfg', '')))
    return meta.get('task') or task_of_types([*types, str(meta.get('algorithm'))])

"""One call to a working backbone."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config
from torch import nn

from clasp_mm.compat import load_file
from clasp_mm.models.checkpoint import load_backbone
from clasp_mm.registry import MODELS

from .publish import file_hash

ZOO_VARIABLE = 'CLASP_ZOO'
_HASHED = re.compile(r'-([0-9a-f]{8})\.pth$')


def get_model(source: str | os.PathLike, pretrained: str | os.PathLike | None = None,
              task: str | Sequence | None = None, **overrides) -> nn.Module:
    """Build a backbone and load its weights, ready for inference.

    Args:
        source: A published ``.pth`` file, the name of one in the folders of the environment
            variable ``CLASP_ZOO``, or a config (``.py``) with a backbone in its model.
        pretrained: Weights for a config: published file or training checkpoint. A config without
            them gives random weights.
        task: ``'appearance'``, ``'part'``, ``'attribute'``, several of them, or one per stage; a
            backbone with PC-MoE that is given none must be told at every forward.
        **overrides: Backbone arguments to change, as ``out_indices=(0, 1, 2, 3)``.

    Returns:
        The backbone in evaluation mode: images (B, 3, H, W), RGB with ImageNet's mean and
        deviation, to a tuple of maps (B, C_i, H_i, W_i).

    Raises:
        FileNotFoundError: If there is no such file or name; near names are offered.
        ValueError: If the file is damaged, is no published model, or does not fit.
    """
    path = Path(source)
    if path.suffix == '.py':
        cfg = Config.fromfile(path).get('model', {}).get('backbone')
        if cfg is None:
            raise ValueError(f'{path} has no model.backbone')
        weights = pretrained
    else:
        if pretrained is not None:
            raise ValueError('pretrained goes with a config; a published model has its weights')
        weights = find_published(source)
        verify_hash(weights)
        cfg = load_file(weights).get('meta', {}).get('backbone')
        if not isinstance(cfg, Mapping):
            raise ValueError(f'{weights} is no published model of clasp_mm; publish it with '
                             'tools/publish_model.py, or give get_model its config and '
                             'pretrained=')
    overrides = overrides if task is None else dict(overrides, task=task)
    model = MODELS.build({**cfg, 'init_cfg': None, **overrides})
    if weights is not None:
        load_backbone(model, weights)
    return model.eval()


def find_published(source: str | os.PathLike) -> Path:
    """Path of a published model from its path or its name, with or without date and hash."""
    path = Path(source)
    if path.suffix == '.pth':
        if not path.is_file():
            raise FileNotFoundError(f'no such file: {path}')
        return path
    folders = [Path(f) for f in os.environ.get(ZOO_VARIABLE, '').split(os.pathsep) if f]
    files = sorted(file for folder in folders for file in folder.glob('*.pth'))
    names = {re.sub(r'_\d{8}-[0-9a-f]{8}$', '', file.stem): file for file in files}
    names.update({file.stem: file for file in files})
    if str(source) in names:
        return names[str(source)]
    near = difflib.get_close_matches(str(source), names, n=3, cutoff=0.3)
    where = f'the folders of {ZOO_VARIABLE} ({os.environ.get(ZOO_VARIABLE) or "not set"})'
    raise FileNotFoundError(f'no published model {str(source)!r} in {where}'
                            + (f'; near: {", ".join(near)}' if near else
                               '; give the path of a .pth file, or set the variable'))


def verify_hash(path: Path) -> None:
    """Compare a published file with the hash in its name, if it has one.

    Raises:
        ValueError: If they differ: the file was changed or is not complete.
    """
    stated = _HASHED.search(path.name)
    if stated and (found := file_hash(path)) != stated[1]:
        raise ValueError(f'{path} has hash {found}, its name says {stated[1]}: the file was '
                         'changed or only partly copied; fetch it again')

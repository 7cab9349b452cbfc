"""One call to a working backbone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config
from torch import nn

from clasp_mm.compat import load_file
from clasp_mm.models.checkpoint import load_backbone
from clasp_mm.models.weights_file import find_weights
from clasp_mm.registry import MODELS


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
        weights = find_weights(source)
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

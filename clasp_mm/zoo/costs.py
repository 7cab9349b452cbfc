"""Parameters and FLOPs of the model zoo's configs, counted into its metafiles."""

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from clasp_mm.models.macs import OneMap, count_macs
from clasp_mm.registry import MODELS
from clasp_mm.utils.files import locked, read_yaml, write_yaml


def config_cost(cfg: Config, size: str) -> tuple[int, int]:
    """Count a config's backbone.

    Args:
        cfg: The config.
        size: Height x width of the image, as '256x128'.

    Returns:
        Parameters, and multiply-adds of a forward pass of one image under one prompt.
    """
    height, width = map(int, size.split('x'))
    model = OneMap(MODELS.build(dict(cfg.model.backbone, init_cfg=None)))
    macs = count_macs(model, torch.randn(1, 3, height, width))
    return sum(parameter.numel() for parameter in model.parameters()), macs


def count_costs(root: Path) -> None:
    """Write ``Parameters`` and ``FLOPs`` of every model into the metafiles.

    Args:
        root: Folder of ``model-index.yml``.
    """
    known: dict[tuple[str, Any], tuple[int, int]] = {}
    for name in read_yaml(root / 'model-index.yml')['Import']:
        with locked(root / name):
            content = read_yaml(root / name)
            for entry in content['Models']:
                meta = entry['Metadata']
                cfg = Config.fromfile(root / entry['Config'])
                key = (meta['Input Size'], str(dict(cfg.model.backbone, init_cfg=None)))
                if key not in known:
                    known[key] = config_cost(cfg, meta['Input Size'])
                meta['Parameters'], meta['FLOPs'] = known[key]
            write_yaml(root / name, content)

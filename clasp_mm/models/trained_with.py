"""What a checkpoint says of the settings that its backbone was trained with."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from clasp_mm.config_text import read_config_text

from .layers.pc_moe import PCMoE

_OURS = ('clasp_mm.PCMoESwin', 'clasp_mm.SemanticSwin')
_MMPRETRAIN = 'mmpretrain.SwinTransformer'
_ALWAYS_PAD = tuple(f'{host}.SwinTransformer' for host in ('mmdet', 'mmseg', 'mmpose'))
# What makes a backbone's tensors and features; the rest is where and how it is used.
_ARCHITECTURE = ('type', 'arch', 'window_size', 'strides', 'in_channels', 'pad_small_map', 'moe')
_HIDDEN_OF_MOE = ('top_k', 'self_embedding', 'prompt_embedding')


def stated_backbone(checkpoint: Any) -> dict[str, Any]:
    """The config of the backbone in a published file or a run's checkpoint; else an empty one.

    A run's config is text, which is read and not run. ``type`` has its library before it.
    """
    meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
    meta = meta if isinstance(meta, Mapping) else {}
    backbone, scope = meta.get('backbone'), None
    if backbone is None:
        try:
            cfg = read_config_text(str(meta.get('cfg', '')))
        except ValueError:
            return {}
        model, scope = cfg.get('model'), cfg.get('default_scope')
        backbone = model.get('backbone') if isinstance(model, Mapping) else None
    if not isinstance(backbone, Mapping):
        return {}
    kind = str(backbone.get('type'))
    return dict(backbone, type=kind if '.' in kind else f'{scope}.{kind}')


def trained_settings(stated: Mapping[str, Any], layout: str, names: Iterable[str]
                     ) -> dict[str, Any]:
    """Settings that change features and show in no tensor, as far as the file tells them.

    SOLIDER's code always pads. Of Microsoft's and timm's layout, classifiers end with one norm,
    and shift no map of one window; Microsoft's detectors have a norm a stage, and always pad.
    mmpretrain's names are mmdet's, mmsegmentation's and mmpose's, whose habits differ.

    Args:
        stated: See :func:`stated_backbone`.
        layout: ``LoadReport.format``.
        names: Of the backbone's tensors.

    Returns:
        Any of the keys of :func:`hidden_settings`.
    """
    kind = stated.get('type')
    if kind in _OURS:
        settings = dict(pad_small_map=stated.get('pad_small_map', True),
                        strides=tuple(stated.get('strides', (4, 2, 2, 2))))
        moe = stated.get('moe', {} if kind == _OURS[0] else None)
        if moe is not None:
            defaults = inspect.signature(PCMoE).parameters
            settings |= {f'moe.{name}': moe.get(name, defaults[name].default)
                         for name in _HIDDEN_OF_MOE}
        return settings
    if kind == _MMPRETRAIN:
        return dict(pad_small_map=stated.get('pad_small_map', False))
    if kind in _ALWAYS_PAD or layout == 'solider':
        return dict(pad_small_map=True)
    if layout in ('microsoft', 'timm'):
        norms = {name.split('.')[0] for name in names if name.startswith('norm')}
        return dict(pad_small_map=len(norms) > 1)
    return {}


def hidden_settings(backbone: nn.Module) -> dict[str, Any]:
    """Settings of a :class:`PCMoESwin` that change features and show in no tensor."""
    settings = dict(pad_small_map=backbone.pad_small_map, strides=backbone.strides)
    moe = next((stage.moe for stage in backbone.stages if stage.moe is not None), None)
    if moe is not None:
        settings |= {f'moe.{name}': getattr(moe, name) for name in _HIDDEN_OF_MOE}
    return settings


def config_line(stated: Mapping[str, Any]) -> str | None:
    """``backbone=dict(...)`` to paste into a config; None where it is no backbone of ours."""
    if stated.get('type') not in _OURS:
        return None
    return 'backbone=' + _text({key: stated[key] for key in _ARCHITECTURE if key in stated})


def _text(value: Any) -> str:
    if not isinstance(value, Mapping):
        return repr(value)
    return f'dict({", ".join(f"{key}={_text(one)}" for key, one in value.items())})'

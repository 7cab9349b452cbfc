"""What a checkpoint says of the settings that its backbone was trained with."""

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from clasp_mm.utils.config_text import read_config_text

from ..backbones import PCMoESwin
from ..layers.pc_moe import PCMoE

_OURS = ('clasp_mm.PCMoESwin', 'clasp_mm.SemanticSwin')
_MMPRETRAIN = 'mmpretrain.SwinTransformer'
_ALWAYS_PAD = tuple(f'{host}.SwinTransformer' for host in ('mmdet', 'mmseg', 'mmpose'))
# What makes a backbone's tensors and features; the rest is where and how it is used.
_ARCHITECTURE = ('type', 'arch', 'window_size', 'strides', 'in_channels', 'pad_small_map', 'moe')
_HIDDEN_OF_MOE = ('top_k', 'self_embedding', 'prompt_embedding')


def published_backbone(checkpoint: Any, where: Any) -> dict[str, Any] | None:
    """The config of the backbone in a published file or a run's checkpoint, without ``init_cfg``.

    None where the file does not say. A run's config is text, which is read and not run. A file may
    name our two backbones alone, and plain values for arguments that they have, so that it can
    build nothing else: a registry reaches any function by its dotted name. Errors call it
    ``where``.

    Raises:
        ValueError: It names another type, an argument that the type does not have, or anything but
            numbers, text and lists of them.
    """
    stated = _said(checkpoint, 'backbone')
    return None if stated is None else check_backbone(stated, where)


def _said(checkpoint: Any, part: str) -> Any:
    """A part of the model as a published file or a run's checkpoint says it, unchecked.

    Its library stands before its ``type``.
    """
    meta = meta_of(checkpoint)
    if meta.get(part) is not None:
        return meta[part]
    cfg = _run_config(meta)
    model = cfg.get('model')
    found = model.get(part) if isinstance(model, Mapping) else None
    kind = found.get('type') if isinstance(found, Mapping) else None
    if isinstance(kind, str) and '.' not in kind:
        return dict(found, type=f'{cfg.get("default_scope")}.{kind}')
    return found


def _run_config(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config in the ``meta`` of a run's checkpoint; empty where it has none that is read."""
    try:
        return read_config_text(str(meta.get('cfg', '')))
    except ValueError:
        return {}


def trained_size(checkpoint: Any) -> tuple[int, int] | None:
    """(H, W) of the images that a published file or a run was trained on; None where untold."""
    meta = meta_of(checkpoint)
    passport = meta.get('passport')
    if not isinstance(passport, Mapping):
        try:
            size = config_size(_run_config(meta))
        except (AttributeError, KeyError, TypeError, ValueError):  # of another shape
            return None
        return size if size and all(0 < side < 10_000 for side in size) else None
    found = re.fullmatch(r'(\d{1,4})x(\d{1,4})', str(passport.get('input_size')))
    return (int(found[1]), int(found[2])) if found else None


def trained_statistics(checkpoint: Any, where: Any) -> dict[str, tuple[float, ...]]:
    """``mean`` and ``std`` of the pixels that a published file or a run was trained with.

    See :func:`check_statistics`.
    """
    return check_statistics(_said(checkpoint, 'data_preprocessor'), where)


def check_statistics(preprocessor: Any, where: Any) -> dict[str, tuple[float, ...]]:
    """``mean`` and ``std`` of a ``data_preprocessor`` that a stranger wrote, as far as it has them.

    Raises:
        ValueError: One is not three numbers, or a deviation is not above 0.
    """
    found = {}
    for name, low in (('mean', -1e4), ('std', 1e-4)):
        value = preprocessor.get(name) if isinstance(preprocessor, Mapping) else None
        if value is None:
            continue
        if not (isinstance(value, list | tuple) and len(value) == 3
                and all(type(one) in (int, float) and low < one < 1e4 for one in value)):
            raise ValueError(f'{where} states data_preprocessor.{name}={value!r:.80}, and three '
                             f'numbers of {low:g} to 10000 are needed: correct the config of its '
                             'training, and publish a published model again')
        found[name] = tuple(map(float, value))
    return found


def config_size(cfg: Mapping[str, Any]) -> tuple[int, int] | None:
    """(H, W) that the first resizing step of a config's data has.

    It is that of the test images, or, in pretraining, of the global crops.
    """
    for part in ('test', 'val', 'train'):
        dataset = (cfg.get(f'{part}_dataloader') or {}).get('dataset') or {}
        while 'dataset' in dataset:
            dataset = dataset['dataset']
        for step in dataset.get('pipeline') or ():
            for key, order in (('global_size', 1), ('input_size', -1), ('scale', -1), ('size', 1)):
                value = step.get(key)
                if isinstance(value, list | tuple) and len(value) == 2:
                    height, width = value[::order]
                    return int(height), int(width)
    return None


def check_backbone(stated: Any, where: Any) -> dict[str, Any]:
    """A backbone's config that a stranger wrote; see :func:`published_backbone`."""
    kind = stated.get('type') if isinstance(stated, Mapping) else None
    if kind not in _OURS:
        raise ValueError(f'{where} states the backbone {kind or stated!r:.80}, and only '
                         f'{" and ".join(_OURS)} are built from what a file says: give the config '
                         'of its training')
    settings = {name: value for name, value in stated.items()
                if name not in ('type', 'init_cfg')}  # where its training started does not matter
    for name, value in settings.items():
        if not _fits(kind, name, value):
            raise ValueError(f'{where} states {kind} with {name!r:.80}={value!r:.80}, which it '
                             'does not take from a file: publish the model again, or give the '
                             'config of its training')
    return dict(type=kind, **settings)


def _fits(kind: str, name: Any, value: Any) -> bool:
    """Whether a backbone has an argument, and the value is plain."""
    names = set(inspect.signature(PCMoESwin).parameters) - {'pretrained', 'init_cfg'}
    if kind != _OURS[0]:
        names = names - {'task', 'moe'} | {'semantic_weight'}
    fields = dict(arch={'embed_dims', 'depths', 'num_heads'},
                  moe={*inspect.signature(PCMoE).parameters, 'stages'} - {'dim'})
    if name not in names:
        return name == 'pretrained' and value is None
    if name in fields and value is not None and not (name == 'arch' and isinstance(value, str)):
        return (isinstance(value, Mapping) and set(value) <= fields[name]
                and all(map(_is_plain, value.values())))
    return _is_plain(value)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (str, int, float, bool)


def meta_of(checkpoint: Any) -> Mapping[str, Any]:
    """``meta`` of what a file holds; empty where it has none."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
    return meta if isinstance(meta, Mapping) else {}


def stated_backbone(checkpoint: Any) -> dict[str, Any]:
    """The config of the backbone in a published file or a run's checkpoint; else an empty one.

    It tells settings and builds nothing. Of our own backbones only what they take from a file
    counts, see :func:`published_backbone`. ``type`` has its library before it.
    """
    backbone = _said(checkpoint, 'backbone')
    if not isinstance(backbone, Mapping):
        return {}
    kind = str(backbone.get('type'))
    if kind in _OURS:
        backbone = {name: value for name, value in backbone.items() if _fits(kind, name, value)}
    return dict(backbone, type=kind)


def trained_settings(stated: Mapping[str, Any], layout: str, names: Iterable[str]
                     ) -> dict[str, Any]:
    """Settings that change features and show in no tensor, as far as the file tells them.

    SOLIDER's code always pads. Of Microsoft's and timm's layout, classifiers end with one norm,
    and shift no map of one window; Microsoft's detectors have a norm a stage, and always pad.
    mmpretrain's names are mmdet's, mmsegmentation's and mmpose's, whose habits differ.

    ``stated`` is :func:`stated_backbone`'s, ``layout`` ``LoadReport.format``; the keys are of
    :func:`hidden_settings`.
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

"""Configs that come with a zoo or lie beside a file, read as data: nothing in them is run."""

import re
from collections.abc import Mapping
from copy import deepcopy
from importlib import import_module, util
from os import PathLike
from pathlib import Path
from typing import Any

from mmengine.config import Config

from clasp_mm.models.weights.trained_with import check_backbone
from clasp_mm.utils.config_text import read_config_text, walk
from clasp_mm.utils.files import read_text
from clasp_mm.utils.resources import config_file, shipped_file

_HOSTS = ('mmpretrain', 'mmdet', 'mmseg', 'mmpose')
_SCOPES = ('clasp_mm', 'mmengine', *_HOSTS)
_IMPORT = re.compile(rf'(?:clasp_mm|{"|".join(_HOSTS)})(?:\.\w+)*', re.ASCII)
# Arguments of host classes that fetch weights, which the published file has.
_WEIGHTS = ('init_cfg', 'stage1')
# What host classes take for configs, or hand to a library that runs what it fetches; and what they
# evaluate, which harms by calls alone.
_FILE = re.compile(r'[/\\]|\.(?:json|ya?ml|pkl)\b', re.IGNORECASE)
_CALL = re.compile(r'\(|\.py\b', re.IGNORECASE)
_OPERATORS = ('nms', 'soft_nms', 'RoIAlign', 'RoIPool')  # of mmcv, which has no registry for them
_METAINFO = re.compile(r'configs/_base_/datasets/(\w[\w-]*\.py)', re.ASCII)


def open_config(config: str | PathLike | Config) -> Config:
    """A config that the caller names, which is run, or has read already."""
    return deepcopy(config) if isinstance(config, Config) else Config.fromfile(
        config_file(config))


def is_own(entry: Mapping[str, Any]) -> bool:
    """Whether the config of a model is the library's."""
    return Path(entry['Config']).is_relative_to(shipped_file('configs'))


def entry_config(entry: Mapping[str, Any], whole: bool = True) -> Config:
    """The config of a model of :func:`~clasp_mm.zoo.index.read_zoo`.

    The library's own are run, as they are its code. Of any other all may be built, or, unless
    ``whole``, its backbone alone.

    Raises:
        ValueError: See :func:`read_zoo_config` and :func:`buildable`.
    """
    path = Path(entry['Config'])
    if is_own(entry):
        return Config.fromfile(path)
    cfg = read_zoo_config(path)
    if whole:
        return buildable(cfg)
    model = cfg.get('model')
    if isinstance(model, Mapping) and 'backbone' in model:
        model['backbone'] = check_backbone(model['backbone'].to_dict(), path)
    return cfg


def read_zoo_config(path: str | PathLike) -> Config:
    """Read a config as names set to literals; nothing is substituted, inherited or imported.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds anything else, names imports of other packages than clasp_mm and its
            hosts, or a scope that is none of theirs.
    """
    text = read_text(path)
    try:
        values = read_config_text(text)
        if '_base_' in values:
            raise ValueError('it inherits from _base_')
        _imports(values)
        for place, key, value in walk(values):
            if key in ('default_scope', '_scope_') and value is not None and value not in _SCOPES:
                raise ValueError(f'{".".join(map(str, place))}={value!r:.80} is none of '
                                 f'{", ".join(_SCOPES)}')
        return Config(values, cfg_text=text, filename=str(path))  # KeyError: names of its own
    except (ValueError, KeyError, RecursionError) as error:
        raise ValueError(
            f'{path} would have to be run, or is no config: {error}. It came with files, so it is '
            'only read: publish the model again (clasp publish writes such a config), or '
            'name the config yourself where you trust it') from error


def buildable(cfg: Config) -> Config:
    """Import what a config of :func:`read_zoo_config` asks for, and check what it would build.

    Every type has to be registered by clasp_mm, MMEngine or a host: MMEngine imports any other by
    its dotted name. Some classes of the hosts evaluate text, or run a file that it names: text with
    a call, or of a Python file, is refused, and in the model any path. Weights that parts of the
    model would fetch are taken out.

    Raises:
        ValueError: A type is not, or a value would make its class run a file.
    """
    from clasp_mm.engine.config_check import registered  # imports the Runner
    for name in _imports(cfg):
        import_module(name)
    values, trusted = _without_weights(cfg.to_dict()), '; name the config where you trust it'
    scope = cfg.get('default_scope') or 'mmengine'
    for place, key, value in walk(values):
        if _is_data(place):
            continue
        shown = f'{cfg.filename}: {".".join(map(str, place))}={value!r:.80}'
        if key == 'type' and value not in _OPERATORS:
            prefix = str(value).rpartition('.')[0]
            if not isinstance(value, str) or (prefix and prefix not in _SCOPES) or not (
                    registered(value, scope)):
                raise ValueError(f'{shown} is registered neither by clasp_mm, nor by MMEngine or '
                                 f'a host of it ({", ".join(_HOSTS)}){trusted}')
        elif key == 'trust_remote_code' or (isinstance(value, str) and (
                _CALL.search(value) or (place[0] == 'model' and _FILE.search(value)))):
            raise ValueError(f'{shown} may be run, so no config that came with files may have it'
                             f'{trusted}')
    # Descriptions of key points come from mmpose itself: it would run the file of that path.
    for node in [values, *(value for _, _, value in walk(values))]:
        if isinstance(node, Mapping) and 'from_file' in node:
            node['from_file'] = _description(node['from_file'], cfg.filename)
    return Config(values, filename=cfg.filename, cfg_text=cfg.text)


def _imports(values: Mapping[str, Any]) -> list[str]:
    """The modules of ``custom_imports``, if they are ours or a host's."""
    imports = values.get('custom_imports') or {}
    names = imports.get('imports') if isinstance(imports, Mapping) else imports
    names = list(names) if isinstance(names, list | tuple) else [names] if names else []
    for name in names:
        if not _IMPORT.fullmatch(str(name)):
            raise ValueError(f'custom_imports of {name!r:.80}, no module of clasp_mm or its hosts')
    return names


def _is_data(place: tuple) -> bool:
    """Whether it says something of data, and builds nothing."""
    return place[0] != 'model' and any(
        part in ('metainfo', 'dataset_meta', 'clip_grad', 'dist_cfg') for part in place)


def _without_weights(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _without_weights(value) for key, value in node.items()
                if key not in _WEIGHTS}
    if isinstance(node, list | tuple):
        return type(node)(map(_without_weights, node))
    return node


def _description(name: Any, where: str) -> str:
    """The file of mmpose that describes key points under a name."""
    match, package = _METAINFO.fullmatch(str(name)), util.find_spec('mmpose')
    if match and package:
        root = Path(package.origin).parent
        for folder in (root / '.mim', root.parent):
            path = folder / 'configs/_base_/datasets' / match[1]
            if path.is_file():
                return str(path)
    raise ValueError(f'{where}: from_file={name!r:.80} is no description of mmpose')

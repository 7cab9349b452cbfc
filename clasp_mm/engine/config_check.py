"""Find keys of a config that nothing would read, before a run starts.

MMEngine ignores an unknown key at the top of a config, and an unknown argument fails only once its
object is built, deep in a traceback. Here every key is compared with what reads it: the Runner, the
data loader, or the class that the dict's ``type`` names.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

from mmengine import registry as mmengine_registry
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from mmengine.utils import get_object_from_string
from torch.utils.data import DataLoader

from clasp_mm.utils.config_text import walk
from clasp_mm.utils.names import nearest

# Read by the Runner or by this package from the config itself, beside the Runner's arguments.
_OTHER_TOP_KEYS = frozenset({
    'compile', 'model_wrapper_cfg', 'find_unused_parameters', 'sync_bn', 'runner_type',
    'custom_imports', 'vis_backends', 'tta_model', 'tta_pipeline', 'tta_cfg', 'gpu_ids',
    'float32_matmul_precision'})
# Popped by whoever builds the object, before its class sees the rest.
_BUILDER_KEYS = {
    'optim_wrapper': frozenset({'constructor', 'paramwise_cfg'}),
    'hook': frozenset({'priority'}),
    'parameter scheduler': frozenset({'convert_to_iter_based'}),
    'model': frozenset({'requires_grad'}),
}
# Types of dicts that may leave theirs out, by their place in the config.
_DEFAULT_TYPES = {
    'optim_wrapper': 'mmengine.OptimWrapper', 'log_processor': 'mmengine.LogProcessor',
    'visualizer': 'mmengine.Visualizer', 'val_cfg': 'mmengine.ValLoop',
    'test_cfg': 'mmengine.TestLoop'}
# Dicts without a type, by their place: who reads them, which keys, and whether no others.
_LOADER = ('the data loader', {*inspect.signature(DataLoader).parameters, 'num_batch_per_epoch'},
           True)
_UNTYPED = {
    'train_dataloader': _LOADER, 'val_dataloader': _LOADER, 'test_dataloader': _LOADER,
    'env_cfg': (
        'the Runner', {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'}, True),
    'randomness': (
        'the Runner', {*inspect.signature(Runner.set_randomness).parameters} - {'self'}, True),
    'auto_scale_lr': ('the Runner', {'enable', 'base_batch_size'}, True),
    'optim_wrapper.paramwise_cfg': ('the optimizer constructor', {
        'custom_keys', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult', 'flat_decay_mult',
        'dwconv_decay_mult', 'dcn_offset_lr_mult', 'bypass_duplicate', 'decay_rate'}, False)}
# Dicts whose 'type' is no registered name.
_FREE_TYPES = ('clip_grad', 'dist_cfg')
_STRICT_PACKAGES = ('clasp_mm', 'mmengine')
_NEAR = 0.9  # 'max_epoch' is 0.95 to 'max_epochs'; 'gallery_dataloader' 0.87 to 'val_dataloader'


class ConfigError(ValueError):
    """Keys of a config that nothing reads; the message lists them all."""


def check_config(cfg: Config, overrides: Iterable[str] = ()) -> None:
    """Raise when a key of ``cfg`` is not read by anything.

    A name at the top level that the Runner does not know may be a variable of the file
    (``data_root``); it is an error only when it nearly spells a key of the Runner. So is a key for
    a class of another package than clasp_mm and MMEngine, whose builder may read more.

    Args:
        cfg: The whole config, with overrides merged in.
        overrides: Dotted keys given on the command line. There, a variable of the file is an
            error too: it has been used already, and changing it changes nothing.

    Raises:
        ConfigError: Names each key, where it stands, and the nearest valid key.
    """
    problems = list(_top_problems(cfg, overrides))
    scope = cfg.get('default_scope') or 'mmengine'
    for key in sorted(_top_keys() & set(cfg.keys())):
        problems += _walk(cfg[key], key, scope)
    if problems:
        source = cfg.filename or 'the config'
        raise ConfigError('\n  '.join([f'{source}: keys that nothing reads',
                                       *dict.fromkeys(problems)]))


@cache
def _top_keys() -> frozenset[str]:
    runner = set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}
    return frozenset(runner | _OTHER_TOP_KEYS)


def _top_problems(cfg: Config, overrides: Iterable[str]) -> Iterator[str]:
    valid = _top_keys()
    given = {key.split('.')[0] for key in overrides}
    for key in cfg:
        if key in valid:
            continue
        if key in given:
            near = nearest(key, sorted(valid), _NEAR) or next(
                ('.'.join(map(str, place)) for top in sorted(valid & set(cfg.keys()))
                 for place, name, _ in walk(cfg[top], (top, )) if name == key), None)
            hint = f'; did you mean {near}?' if near else ''
            yield f'{key!r} on the command line: the Runner reads no such key{hint}'
        elif near := nearest(key, sorted(valid - _OTHER_TOP_KEYS), _NEAR):
            yield f'unknown key {key!r}; did you mean {near!r}?'


def _walk(node: Any, place: str, scope: str) -> Iterator[str]:
    """Yield the problems of ``node`` and of all dicts below it."""
    if isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from _walk(item, f'{place}[{index}]', scope)
    elif isinstance(node, Mapping):
        scope = node.get('_scope_', scope)
        yield from _dict_problems(node, place, scope)
        for key, value in node.items():
            yield from _walk(value, f'{place}.{key}', scope)


def _dict_problems(node: Mapping[str, Any], place: str, scope: str) -> Iterator[str]:
    last = place.rsplit('.', 1)[-1]
    keys = {key for key in node if isinstance(key, str)} - {'type', '_scope_', '_delete_'}
    if place in _UNTYPED:
        reader, valid, strict = _UNTYPED[place]
        yield from _unknown(keys, valid, place, reader, strict)
    elif last.partition('[')[0] == 'init_cfg' and 'type' not in node:
        yield (f'{place}: nothing reads it without its type; to load weights, set '
               f'{place}.type=Pretrained too')
    elif last not in _FREE_TYPES:
        type_ = node.get('type', _default_type(node, place))
        if type_ is not None:
            yield from _typed_problems(type_, keys, place, scope)


def _default_type(node: Mapping[str, Any], place: str) -> str | None:
    if place == 'train_cfg':
        by_epoch = node.get('by_epoch', True)
        return 'mmengine.EpochBasedTrainLoop' if by_epoch else 'mmengine.IterBasedTrainLoop'
    return _DEFAULT_TYPES.get(place)


def _typed_problems(type_: str | Callable, keys: set[str], place: str, scope: str
                    ) -> Iterator[str]:
    if place == 'train_cfg':
        keys = keys - {'by_epoch'}
    found = _candidates(type_, scope) if isinstance(type_, str) else [('', type_)]
    if not found:
        package, _, name = str(type_).partition('.')
        if package in _STRICT_PACKAGES:
            near = nearest(name, {known for _, registry in _registries(package)
                                  for known in registry.module_dict}, 0.5)
            hint = f' (did you mean {package}.{near}?)' if near else ''
            yield f'{place}: no type {type_!r} is registered{hint}'
        return  # of another package: the builder raises, or takes the name for itself
    problems: list[list[str]] = []
    for kind, target in found:  # the same name in two registries: one that fits is enough
        named, certain = _parameters(target)
        named |= _BUILDER_KEYS.get(kind, frozenset())
        name = getattr(target, '__name__', str(type_))
        problems.append(list(_unknown(keys, named, place, name, certain)))
    yield from min(problems, key=len)


def _unknown(keys: Iterable[str], valid: Iterable[str], place: str, reader: str,
             strict: bool) -> Iterator[str]:
    """Yield the keys that ``reader`` does not know; unless ``strict``, only the near misses."""
    known = sorted(valid)
    for key in sorted(set(keys).difference(known)):
        if strict or nearest(key, known, _NEAR):
            near = nearest(key, known)
            hint = f'did you mean {near!r}?' if near else f'it reads {", ".join(known)}'
            yield f'{place}.{key}: {reader} reads no {key!r} ({hint})'


@cache
def _parameters(target: Callable) -> tuple[frozenset[str], bool]:
    """Return the names a class or function takes, and whether nothing else can be read."""
    initializers = [target]
    if inspect.isclass(target):
        initializers = [vars(base)['__init__'] for base in target.__mro__
                        if '__init__' in vars(base) and base is not object]
    names: set[str] = set()
    certain = (getattr(target, '__module__', None) or '').split('.')[0] in _STRICT_PACKAGES
    for initializer in initializers:
        try:
            parameters = inspect.signature(initializer).parameters.values()
        except (TypeError, ValueError):  # a builtin without a signature
            return frozenset(names), False
        names |= {p.name for p in parameters
                  if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} - {'self'}
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            return frozenset(names), certain
    return frozenset(names), False


def _registries(scope: str) -> Iterator[tuple[str, Registry]]:
    """Yield (kind, registry) of a scope, its modules imported."""
    own = ()
    if scope != 'mmengine':
        try:
            own = vars(import_module(f'{scope}.registry')).values()
        except ModuleNotFoundError as error:
            if error.name and error.name.split('.')[0] == scope:
                return
            raise
    # A host may have registries of its own, without one of MMEngine's above it.
    for value in (*vars(mmengine_registry).values(), *own):
        if not isinstance(value, Registry):
            continue
        registry = value if value.scope == scope else value.children.get(scope)
        if registry is not None:
            registry.import_from_location()
            yield value.name, registry


def registered(type_: str, scope: str) -> list[tuple[str, Callable]]:
    """Return (kind, class or function) for each registry that knows a type of a config.

    Names without that of their library are looked for in ``scope``, and in MMEngine.
    """
    prefix, _, name = type_.partition('.')
    scopes = [prefix] if name else [scope, 'mmengine']
    found = []
    for one in dict.fromkeys(scopes):
        for kind, registry in _registries(one):
            if (name or type_) in registry.module_dict:
                found.append((kind, registry.module_dict[name or type_]))
    return found


def _candidates(type_: str, scope: str) -> list[tuple[str, Callable]]:
    """As :func:`registered`, or what a dotted name imports, as a registry does."""
    found = registered(type_, scope)
    if not found and type_.count('.') > 1:
        target = get_object_from_string(type_)
        found = [('', target)] if target is not None else []
    return found

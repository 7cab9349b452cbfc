"""Configs as text that is read, not run: those inside checkpoints, and those of a zoo's address."""

import ast
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# What the command line and the start of a run change, and no result depends on.
_OF_A_START = frozenset({'work_dir', 'launcher', 'resume', 'load_from', 'compile', 'visualizer',
                         'vis_backends', 'log_level', 'env_cfg', 'experiment_name'})


def read_config_text(text: str) -> dict[str, Any]:
    """Read ``Config.pretty_text`` of MMEngine: names set to literals and ``dict(...)`` of them.

    Raises:
        ValueError: It is no Python, or holds anything else, which would have to be run.
    """
    try:
        statements = ast.parse(text).body
    except SyntaxError as error:
        raise ValueError(f'no config: {error}') from error
    values = {}
    for statement in statements:
        targets = statement.targets if isinstance(statement, ast.Assign) else [None]
        for target in targets:  # a = b = value has two
            if not isinstance(target, ast.Name):
                raise ValueError(f'line {statement.lineno} sets no name to a value: a resolved '
                                 'config does nothing else (config.dump writes one)')
            try:
                values[target.id] = _value(statement.value)
            except TypeError as error:  # such as of a list as a key
                raise ValueError(f'line {statement.lineno}: {error}') from error
    return values


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        kind = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
        return kind(_value(item) for item in node.elts)
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {_value(key): _value(item) for key, item in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.Name) and node.id in ('inf', 'nan'):
        return getattr(math, node.id)
    if (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict'
            and all(isinstance(part, ast.Dict) for part in node.args)
            and all(keyword.arg for keyword in node.keywords)):
        named = {keyword.arg: _value(keyword.value) for keyword in node.keywords}
        return {key: value for part in node.args for key, value in _value(part).items()} | named
    raise ValueError(f'line {node.lineno} holds {ast.unparse(node)[:60]!r}, which is no literal')


def walk(node: Any, place: tuple = ()) -> Iterator[tuple[tuple, Any, Any]]:
    """Place, key and value of everything in the dicts, lists, tuples and sets below a value."""
    items = node.items() if isinstance(node, Mapping) else (
        enumerate(node) if isinstance(node, list | tuple | set) else ())
    for key, value in items:
        yield (*place, key), key, value
        yield from walk(value, (*place, key))


def config_differences(given: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """Where a config differs from the one stored in a checkpoint, as ``key: value, not value``.

    What a start of a run sets (work directory, launcher, resuming) does not count.
    """
    found: list[str] = []
    for key in sorted({*given, *stored} - _OF_A_START):
        found += _differences(key, _plain(given.get(key)), _plain(stored.get(key)))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _differences(place: str, given: Any, stored: Any) -> Iterator[str]:
    if isinstance(given, Mapping) and isinstance(stored, Mapping):
        for key in sorted({*given, *stored}):
            yield from _differences(f'{place}.{key}', given.get(key), stored.get(key))
    elif (isinstance(given, Sequence) and isinstance(stored, Sequence)
          and not isinstance(given, str) and len(given) == len(stored)):
        for at, pair in enumerate(zip(given, stored, strict=True)):
            yield from _differences(f'{place}[{at}]', *pair)
    elif given != stored and not (given != given and stored != stored):  # nan
        yield f'{place}: {_short(given)}, not {_short(stored)}'


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:60]}...'

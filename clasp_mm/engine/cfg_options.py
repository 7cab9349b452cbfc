"""``--cfg-options KEY=VALUE ...``: read from the command line, and merged into a config."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config, DictAction

from .config_check import ConfigError


def parse_value(text: str) -> Any:
    """Read a number, True, False, None, text, or lists ``a,b`` or ``[a,b]`` and tuples ``(a,b)``.

    As MMEngine does, which takes the spaces out of all values; here text keeps its own.

    Raises:
        ValueError: A bracket has no other end.
    """
    text = text.strip().strip('\'"')
    bracketed = text[:1] + text[-1:] in ('()', '[]')
    if not bracketed and ',' not in text:
        return DictAction._parse_int_float_bool(text)
    parts, depth = [''], 0
    for char in text:
        depth += (char in '([') - (char in ')]')
        if depth < 0:
            break
        if char == ',' and depth == 0:
            parts.append('')
        else:
            parts[-1] += char
    if depth:
        raise ValueError('a bracket has no other end')
    if len(parts) > 1:
        return [parse_value(part) for part in (parts if parts[-1].strip() else parts[:-1])]
    if not bracketed:
        return text  # with a comma inside brackets
    inner = text[1:-1].strip().removesuffix(',')
    found = parse_value(f'{inner},') if inner else []
    return tuple(found) if text[0] == '(' else found


def merge_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Merge dotted keys into a config.

    Raises:
        ConfigError: A key leads through what is no dict, or past the end of a list.
    """
    try:
        cfg.merge_from_dict(dict(options))
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        told = [text for key in options if (text := _obstacle(cfg.to_dict(), key))]
        raise ConfigError('--cfg-options: ' + ('; '.join(told) or f'{error} ({", ".join(options)})')
                          ) from error


def _obstacle(node: Any, key: str) -> str | None:
    """What of the config keeps a dotted key from being set."""
    parts = key.split('.')
    for at, part in enumerate(parts):
        place = '.'.join(parts[:at])
        if isinstance(node, Mapping):
            if part not in node:
                return None
            node = node[part]
        elif isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                return (f'{key}: {place} is a list of {len(node)}; behind it goes a number below '
                        f'that, not {part!r}')
            node = node[int(part)]
            if at == len(parts) - 1 and not isinstance(node, Mapping):
                return f'{key}: of a list the keys of its dicts can be set; give {place} whole'
        else:
            return f'{key}: {place} is {node!r}, which has no keys; give {place} whole'
    return None

"""Names that were not found, and what they may have meant."""

import difflib
from collections.abc import Iterable, Sequence


def nearest(name: object, choices: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The choice most like ``name``, or None where none is like it."""
    found = difflib.get_close_matches(str(name), list(choices), n=1, cutoff=cutoff)
    return found[0] if found else None


def near_names(name: object, choices: Iterable[str], otherwise: str = '') -> str:
    """The end of an error message: '; near: ...', up to three choices, the nearest first.

    >>> near_names('tinny', ['tiny', 'tin', 'base'])
    '; near: tiny, tin'
    """
    found = difflib.get_close_matches(str(name), list(choices), n=3, cutoff=0.4)
    return f'; near: {", ".join(found)}' if found else otherwise


def first_names(names: Sequence[object], count: int = 4) -> str:
    """The first names of several, and how many there are if that is not all.

    >>> first_names(['a', 'b', 'c'], 2)
    'a, b, ... (3)'
    """
    more = f', ... ({len(names)})' if len(names) > count else ''
    return ', '.join(map(str, names[:count])) + more


def did_you_mean(name: object, choices: Iterable[str], cutoff: float = 0.6) -> str:
    """The end of an error message: '; did you mean ...?', or nothing where none is like it.

    >>> did_you_mean('tinny', ['tiny', 'base'])
    "; did you mean 'tiny'?"
    """
    near = nearest(name, choices, cutoff)
    return f'; did you mean {near!r}?' if near else ''

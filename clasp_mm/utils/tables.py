"""Tables in Markdown, and the figures in them."""

from collections.abc import Iterable, Sequence
from statistics import mean, stdev


def markdown_table(header: Sequence[object], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown.

    >>> print(markdown_table(['model', 'mAP'], [['base', 93.9]]))
    | model | mAP |
    |---|---|
    | base | 93.9 |
    """
    lines = [f'| {" | ".join(map(str, row))} |' for row in (header, *rows)]
    return '\n'.join([lines[0], '|---' * len(header) + '|', *lines[1:]])


def mean_std(values: Iterable[float | None], form: str = '.1f') -> str:
    """Mean and, of several, standard deviation; '-' where none is defined.

    >>> mean_std([1., 3., None])
    '2.0 ± 1.4'
    """
    known = [value for value in values if value is not None]
    if not known:
        return '-'
    text = format(mean(known), form)
    return f'{text} ± {stdev(known):{form}}' if len(known) > 1 else text


def number_or_dash(value: float | None, form: str = '.3f') -> str:
    """A figure; '-' where it is None or NaN."""
    return '-' if value is None or value != value else format(value, form)

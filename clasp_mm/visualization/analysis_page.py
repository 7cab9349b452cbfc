"""What analyses leave in a folder: tables, pictures and plain data, and their part of a page."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from clasp_mm.utils.files import replacing

from .analysis import write_png
from .pages import html_table

_RULE = re.compile(r'\|?\s*:?-{3,}')


def write_analysis(stem: Path, table: str, data: Any, pictures: Mapping[str, np.ndarray]) -> str:
    """Write what an analysis found, each file whole or not at all.

    Args:
        stem: Path of its files without the suffix.
        table: For people, in Markdown: ``STEM.md``.
        data: For programs, plain data: ``STEM.json``.
        pictures: Name of a file beside them, without suffix -> (H, W, 3) uint8 RGB.

    Returns:
        The table.
    """
    for name, picture in pictures.items():
        write_png(picture, stem.with_name(f'{name}.png'))
    for suffix, text in (('.json', json.dumps(data, indent=1)), ('.md', f'{table}\n')):
        with replacing(stem.with_name(stem.name + suffix)) as partial:
            partial.write_text(text, 'utf-8')
    return table


def analyses_html(folder: Path) -> str:
    """A section for each analysis in a folder: its tables (``*.md``) and pictures (``*.png``).

    A picture whose name goes on from a table's, as ``t-SNE_part.png`` from ``t-SNE.md``, stands
    below it. Nothing where there are none.
    """
    tables = {path.stem: path for path in sorted(folder.glob('*.md'))}
    sections: dict[str, list[Path]] = {name: [path] for name, path in tables.items()}
    for picture in sorted(folder.glob('*.png')):
        owner = next((name for name in sorted(tables, key=len, reverse=True)
                      if f'{picture.stem}_'.startswith(f'{name}_')), picture.stem)
        sections.setdefault(owner, []).append(picture)
    return ''.join(f'<h2>{html.escape(_title(name))}</h2>' + ''.join(map(_show, files))
                   for name, files in sections.items())


def markdown_html(text: str) -> str:
    """Tables and paragraphs of Markdown as HTML; anything else in it stays text."""
    parts = []
    for is_table, group in groupby(text.splitlines(), lambda line: line.startswith('|')):
        lines = [line for line in group if line.strip()]
        if is_table:
            header, *rows = [_cells(line) for line in lines if not _RULE.match(line)]
            parts.append(html_table(header, rows))
        elif lines:
            parts.append(f'<p>{html.escape(" ".join(lines))}</p>')
    return ''.join(parts)


def _title(name: str) -> str:
    words = name.replace('_', ' ')
    return words.capitalize() if words.islower() else words


def _cells(line: str) -> list[str]:
    row = line.strip().removeprefix('|').removesuffix('|')
    return [html.escape(cell.strip()) for cell in row.split('|')]


def _show(path: Path) -> str:
    if path.suffix == '.md':
        return markdown_html(path.read_text('utf-8'))
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<p><img alt="{html.escape(path.stem)}" src="data:image/png;base64,{data}"></p>'

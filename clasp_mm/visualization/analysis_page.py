"""What analyses leave in a folder: tables, pictures and plain data, and their part of a page."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markdown_it import MarkdownIt

from clasp_mm.utils.files import write_text

from .analysis import write_png


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
        write_text(stem.with_name(stem.name + suffix), text)
    return table


def read_analyses(folder: Path) -> dict[str, list[tuple[str, str | bytes]]]:
    """Title of each analysis in a folder -> its table (``*.md``) as HTML, its pictures by name.

    A picture whose name goes on from a table's, as ``t-SNE_part.png`` from ``t-SNE.md``, belongs
    to it; the table has no name.
    """
    markdown = MarkdownIt('js-default')  # HTML in it stays text
    found: dict[str, list[tuple[str, str | bytes]]] = {
        path.stem: [('', markdown.render(path.read_text('utf-8')))]
        for path in sorted(folder.glob('*.md'))}
    tables = sorted(found, key=len, reverse=True)
    for picture in sorted(folder.glob('*.png')):
        owner = next((name for name in tables if f'{picture.stem}_'.startswith(f'{name}_')),
                     picture.stem)
        found.setdefault(owner, []).append((picture.stem, picture.read_bytes()))
    titles = {name: name.replace('_', ' ') for name in found}
    return {title.capitalize() if title.islower() else title: found[name]
            for name, title in titles.items()}

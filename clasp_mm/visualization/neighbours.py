"""One HTML page of nearest neighbours, with what is predicted of each image."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from clasp_mm.pseudo_labels.vocabulary import Vocabulary
from clasp_mm.utils.files import printable

from .pages import html_page, inline_jpeg
from .pseudo_labels import PART_COLOURS, paint_parts

STYLE = """body{font:14px/1.4 system-ui,sans-serif;margin:28px auto;max-width:1500px;
padding:0 16px;color:#222}h1{margin-bottom:4px}.note{color:#666;max-width:900px}
.row{display:flex;gap:10px;border-top:1px solid #ddd;padding:14px 0;overflow-x:auto}
figure{margin:0;flex:0 0 auto;max-width:150px}figure.query{border-right:2px solid #1f77b4;
padding-right:12px}img{display:block;margin-bottom:3px}figcaption{font-size:11px;color:#333;
overflow-wrap:anywhere;width:132px}.cos{font-weight:600;font-size:12px}.other{color:#c3541b}
.unsure{opacity:.45}.key{display:inline-block;width:12px;height:12px;margin:0 4px 0 12px}"""
_SURE = 0.5


@dataclass(frozen=True)
class Description:
    """What is predicted of an image.

    Args:
        parts: Part labels, (h, w) uint8, 0 background, 255 unknown; None if not predicted.
        attributes: Name, value and probability of each attribute.
        note: A word on them, for the caption.
    """

    parts: np.ndarray | None = None
    attributes: tuple[tuple[str, str, float], ...] = ()
    note: str = ''


@dataclass(frozen=True)
class Cell:
    """An image on the page.

    Args:
        name: Its name.
        image: Its thumbnail, (H, W, 3) uint8 RGB.
        description: What is predicted of it.
    """

    name: str
    image: np.ndarray
    description: Description = Description()


def thumbnail(image: np.ndarray, height: int = 176, max_width: int = 132) -> np.ndarray:
    """The image (H, W, 3) scaled to fit into height and width."""
    scale = min(height / image.shape[0], max_width / image.shape[1])
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def neighbour_page(title: str, note: str, cells: Sequence[Cell], queries: Sequence[int],
                   neighbours: np.ndarray, cosines: np.ndarray,
                   vocabulary: Vocabulary | None = None) -> str:
    """A page that needs no other file.

    Args:
        title: Its heading.
        note: A line under it, plain text.
        cells: The images.
        queries: Cell of each of the Q queries.
        neighbours: Cells of their neighbours, nearest first, (Q, k).
        cosines: Their similarity, (Q, k).
        vocabulary: Names of the parts, if any are shown.
    """
    body = [f'<h1>{html.escape(title)}</h1><p class="note">{html.escape(note)}</p>']
    described = any(cell.description.attributes for cell in cells)
    if described:
        body.append('<p class="note">Attributes that differ from the query\'s are in '
                    '<span class="other">colour</span>; those of probability '
                    f'{_SURE} or less are <span class="unsure">faint</span>.</p>')
    if vocabulary is not None and any(cell.description.parts is not None for cell in cells):
        body.append('<p>' + ''.join(
            f'<span class="key" style="background:rgb{tuple(PART_COLOURS[i % len(PART_COLOURS)])}">'
            f'</span>{html.escape(name)}' for i, name in enumerate(vocabulary.part_names)) + '</p>')
    for query, row, similar in zip(queries, neighbours, cosines, strict=True):
        first = cells[query]
        body.append('<div class="row">' + _figure(first, 'query', first, 'query') + ''.join(
            _figure(cells[i], f'{cosine:.3f}', first) for i, cosine in
            zip(row, similar, strict=True)) + '</div>')
    return html_page(title, STYLE, body)


def _figure(cell: Cell, caption: str, query: Cell, kind: str = '') -> str:
    pictures = [cell.image]
    if cell.description.parts is not None:
        pictures.append(paint_parts(cell.image, cell.description.parts))
    asked = {name: value for name, value, _ in query.description.attributes}
    lines = [f'<span class="{"unsure" if p <= _SURE else ""} '
             f'{"other" if asked.get(name) != value else ""}" '
             f'title="{html.escape(name)}: {p:.2f}">{html.escape(value)}</span>'
             for name, value, p in cell.description.attributes]
    if cell.description.note:
        lines.append(f'<i>{html.escape(cell.description.note)}</i>')
    name = printable(cell.name)
    return (f'<figure class="{kind}" title="{html.escape(name)}">'
            f'{"".join(map(inline_jpeg, pictures))}<figcaption><span class="cos">'
            f'{html.escape(caption)}</span> {html.escape(name.rsplit("/", 1)[-1])}<br>'
            f'{", ".join(lines)}</figcaption></figure>')

"""One HTML page of what a search found."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .neighbours import STYLE
from .pages import html_page, html_table, inline_jpeg

FOOTER = (
    'Scores are similarities as a model sees them, not an identification: two people in like '
    'clothes look alike, and one person in two outfits does not. Answers to words and attributes '
    'are guesses of a vision-language model about appearance, with its biases. Do not act on a '
    'person for a score; searching images of people needs a lawful basis.')
_MORE = """.hits{display:grid;grid-template-columns:repeat(auto-fill,minmax(140px,1fr));gap:16px;
border-top:1px solid #ddd;padding:16px 0}.asked{display:flex;gap:24px;align-items:flex-start;
margin:14px 0}table{border-collapse:collapse;font-size:13px;height:max-content}
td,th{padding:3px 9px;border-bottom:1px solid #e4e4e4;text-align:left}td.n{text-align:right}
footer{color:#666;font-size:12px;max-width:900px;border-top:1px solid #ddd;padding-top:10px}
summary{cursor:pointer}
figure{max-width:none}"""
_NAMED = 200


@dataclass(frozen=True)
class Result:
    """An image that was found.

    Args:
        name: Its name.
        image: Its thumbnail, (H, W, 3) uint8 RGB; None where it has gone since.
        score: Of the whole query.
        parts: Of each part of it.
    """

    name: str
    image: np.ndarray | None
    score: float
    parts: Sequence[float]


def search_page(note: str, parts: Sequence[tuple[str, str, float, float]],
                pictures: Sequence[tuple[str, np.ndarray]], results: Sequence[Result],
                unreadable: Sequence[str] = ()) -> str:
    """A page that needs no other file.

    Args:
        note: A line under the heading.
        parts: Kind and words of each part of the query, mean and deviation of its score over the
            folder.
        pictures: Name and thumbnail, (H, W, 3) uint8 RGB, of those of the query.
        results: Best first.
        unreadable: Files that could not be read, and why.
    """
    asked = ', '.join(words for _, words, _, _ in parts)
    table = html_table(('part of the query', 'kind', 'mean over the folder', 'deviation'),
                       [(html.escape(words), kind, f'{mean:.3f}', f'{deviation:.3f}')
                        for kind, words, mean, deviation in parts])
    shown = ''.join(f'<figure class="query">{inline_jpeg(image)}<figcaption>'
                    f'{html.escape(name)}</figcaption></figure>' for name, image in pictures)
    body = [f'<h1>{html.escape(asked)}</h1><p class="note">{html.escape(note)}</p>',
            f'<div class="asked">{shown}{table}</div><div class="hits">',
            *(_figure(rank, result, [words for _, words, _, _ in parts])
              for rank, result in enumerate(results, 1)), '</div>']
    if unreadable:
        items = ''.join(f'<li>{html.escape(fault)}</li>' for fault in unreadable[:_NAMED])
        rest = len(unreadable) - _NAMED
        body.append(f'<details><summary>{len(unreadable)} files could not be read</summary><ul>'
                    f'{items}{f"<li>and {rest} more</li>" if rest > 0 else ""}</ul></details>')
    return html_page(asked, STYLE + _MORE, [*body, f'<footer>{FOOTER}</footer>'])


def _figure(rank: int, result: Result, words: Sequence[str]) -> str:
    name = html.escape(result.name)
    lines = ''
    if len(words) > 1:
        lines = ''.join(f'<br>{html.escape(word)} {value:.3f}'
                        for word, value in zip(words, result.parts, strict=True))
    picture = '<p>gone</p>' if result.image is None else inline_jpeg(result.image)
    return (f'<figure title="{name}">{picture}<figcaption>{rank}. <span class="cos">'
            f'{result.score:.3f}</span> {name.rsplit("/", 1)[-1]}{lines}</figcaption></figure>')

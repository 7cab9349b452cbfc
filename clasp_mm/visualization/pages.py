"""Pages of HTML that need no other file, from the templates beside this module."""

import base64
import os
import shlex
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import jinja2
import numpy as np

from clasp_mm.utils.files import printable, write_text
from clasp_mm.utils.tables import number_or_dash
from clasp_mm.version import __version__


def write_page(path: str | os.PathLike, template: str, title: str, note: str = '', model: str = '',
               data: str = '', command: list[str] | None = None, **values: Any) -> None:
    """Write a page, whole or not at all; text in it is escaped.

    Args:
        path: Of the page.
        template: Name of one in ``templates``, without its ending.
        title: The heading.
        note: A line under it.
        model: What the page is of, for its head; nothing where unknown.
        data: On which images.
        command: What was called; by default this process's command.
        values: For the template.
    """
    command = list(command or sys.argv)
    program = Path(command[0]).name
    command[0] = 'clasp' if program == '__main__.py' else program
    facts = {'model': model, 'data': data, 'command': shlex.join(command),
             'clasp_mm': __version__}

    def link(target: str | os.PathLike) -> str:
        """Address of a file as seen from the page; '' where there is none."""
        start = os.path.dirname(os.path.abspath(path))
        return quote(os.fsencode(os.path.relpath(target, start))) if os.path.isfile(target) else ''

    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name('templates')), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    templates.filters.update(link=link, data_uri=data_uri, figure=_figure)
    text = templates.get_template(f'{template}.html.j2').render(
        title=title, note=note, facts=facts, **values)
    write_text(path, printable(text))


def data_uri(image: np.ndarray | bytes, kind: str = 'png') -> str:
    """A picture as an address that holds it.

    Args:
        image: (H, W, 3) uint8 RGB, or the bytes of a file.
        kind: 'png' or 'jpg'.
    """
    if not isinstance(image, bytes):
        image = cv2.imencode(f'.{kind}', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85] * (
            kind == 'jpg'))[1].tobytes()
    return f'data:image/{kind.replace("jpg", "jpeg")};base64,{base64.b64encode(image).decode()}'


def _figure(value: Any) -> Any:
    known = value is not None and not isinstance(value, float | np.floating)
    return value if known else number_or_dash(value)

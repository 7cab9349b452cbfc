"""Pages of HTML that hold all they show."""

import base64
import html
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

REPORT_STYLE = """body{font:15px/1.45 system-ui,sans-serif;margin:32px auto;max-width:1180px;
padding:0 16px;color:#222}h1{margin-bottom:0}h2{margin-top:36px;border-bottom:1px solid #ddd}
table{border-collapse:collapse;margin:12px 0}td,th{padding:5px 14px;border-bottom:1px solid #e4e4e4;
text-align:left}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
img{max-width:100%}.note{color:#666}"""


def html_page(title: str, style: str, body: Iterable[str]) -> str:
    """A page; the title is text, style and body are CSS and HTML already."""
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}'
            f'</title><style>{style}</style><body>{"".join(body)}</body></html>')


def inline_png(image: np.ndarray) -> str:
    """An <img> element that carries the picture, (H, W, 3) uint8 RGB, in itself."""
    done, data = cv2.imencode('.png', image[..., ::-1])
    if not done:
        raise RuntimeError(f'OpenCV could not encode an image of shape {image.shape} as PNG')
    return f'<img src="data:image/png;base64,{base64.b64encode(data).decode()}">'


def inline_jpeg(image: np.ndarray) -> str:
    """An image (H, W, 3), uint8 RGB, as an HTML element that holds it."""
    done, data = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    if not done:
        raise RuntimeError(f'OpenCV could not encode an image of shape {image.shape} as JPEG')
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are HTML already; the first column is text, the rest numbers."""
    def cells(row: Sequence[str], tag: str) -> str:
        return ''.join(f'<{tag}{"" if i == 0 else " class=n"}>{cell}</{tag}>'
                       for i, cell in enumerate(row))

    return (f'<table><tr>{cells(header, "th")}</tr>'
            + ''.join(f'<tr>{cells(row, "td")}</tr>' for row in rows) + '</table>')

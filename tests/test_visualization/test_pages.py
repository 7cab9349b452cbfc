import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np
import pytest

from clasp_mm.visualization.neighbours import Cell, Row, neighbour_rows
from clasp_mm.visualization.pages import data_uri, write_page

IMAGE = np.full((6, 4, 3), (250, 20, 60), np.uint8)
TEMPLATES = Path(write_page.__code__.co_filename).with_name('templates')


class Tags(HTMLParser):
    """Every element that is opened, with its attributes; and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found, self.text = [], ''
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def write(folder, *hits, **values):
    row = Row(Cell('query.png', [IMAGE]), hits)
    write_page(folder / 'page.html', 'neighbours', **{
        **dict(title='t', rows=[row]), **values})
    return (folder / 'page.html').read_text('utf-8')


def test_text_stays_text_wherever_it_comes_from(tmp_path):
    evil = '<script>"&\'</script>\udce9'
    page = write(tmp_path, Cell(evil, [IMAGE], score=evil, note=evil),
                 title=evil, note=evil, model=evil, data=evil, command=['clasp', evil])
    tags = Tags(page)
    assert 'script' not in {tag for tag, _ in tags.found}
    assert tags.text.count('<script>"&') == 8 and r'\udce9' in tags.text


def test_the_head_names_model_data_and_command(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['/env/clasp_mm/__main__.py', 'embed', 'my people'])
    page = write(tmp_path, model='swin.pth', data='people/')
    told = dict(re.findall('<dt>(.*?)</dt><dd>(.*?)</dd>', page))
    assert (told['model'], told['data']) == ('swin.pth', 'people/')
    assert told['command'] == 'clasp embed &#39;my people&#39;'
    assert '<dt>data' not in write(tmp_path)


def test_a_thumbnail_opens_its_file_and_only_one_that_is_there(tmp_path):
    name = 'a:b %20 #ü\udce9.png'
    (tmp_path / 'people').mkdir()
    path = str(tmp_path / 'people' / name)
    Path(path).write_bytes(b'')
    page = write(tmp_path, Cell(name, [IMAGE], path), Cell('b', [IMAGE], 'db.lmdb:b'))
    (link, ) = [of['href'] for tag, of in Tags(page).found if tag == 'a']
    assert os.path.isfile(tmp_path / unquote(link, errors='surrogateescape')) and ':' not in link
    assert page.count('class="zoom"') == 2  # what has no file fills the window


def test_pages_are_whole_and_fit_light_dark_and_small_screens(tmp_path):
    page = write(tmp_path, Cell('gone', []))
    assert '<p>gone</p>' in page and 'prefers-color-scheme:dark' in page
    assert 'name="viewport"' in page and page.count('<img') == 1
    assert not re.search(r'(src|href)="(?!data:)|url\(|@import|<script', page)
    for template in TEMPLATES.glob('*.j2'):  # one style, in one place, and nothing unescaped
        text = template.read_text()
        assert ('<style>' in text) == (template.name == 'base.html.j2')
        assert text.count('|safe') == (template.name == 'run.html.j2')


def test_pictures_are_held_as_they_are():
    import base64
    kind, data = data_uri(IMAGE).split(';base64,')
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert kind == 'data:image/png' and (decoded[..., ::-1] == IMAGE).all()
    assert data_uri(b'abc') == 'data:image/png;base64,YWJj'
    assert data_uri(IMAGE, 'jpg').startswith('data:image/jpeg;base64,/9j/')


def test_what_a_template_needs_must_be_given(tmp_path):
    with pytest.raises(Exception, match="'rows' is undefined"):
        write_page(tmp_path / 'page.html', 'neighbours', 't')
    assert not list(tmp_path.iterdir())


def test_rows_have_the_query_and_its_neighbours_with_their_cosines():
    class Source:
        names = 'abcd'

        def load(self, row):
            return dict(img=IMAGE)

        def get_data_info(self, row):
            return dict(img_path=f'{row}.png')

    rows = neighbour_rows(Source(), [1, 3, 0], np.array([[5, 0], [4, 3], [.6, .8]]), 2, 2)
    assert [cell.name for cell in (rows[0].query, *rows[0].hits)] == ['b', 'd', 'a']
    assert [cell.name for cell in (rows[1].query, *rows[1].hits)] == ['a', 'd', 'b']
    assert [cell.score for cell in rows[0].hits] == ['cosine 0.800', 'cosine 0.600']
    assert rows[1].hits[0].path == '3.png' and rows[1].query.score == 'query'

"""Text of ours is UTF-8 whatever the locale, and text of others says what it is or is refused."""

import ast
import os
import subprocess
import sys

import pytest

from clasp_mm.utils.files import printable, read_json, read_text, write_text
from tests.source_tree import ROOT

PLACES = ('clasp_mm', 'tools', 'setup.py', 'tests/oracles')


def undeclared(tree: ast.AST) -> list[int]:
    """Lines of text files that are opened without an encoding, and of paths given to OpenCV.

    ``cv2.imread`` and ``cv2.imwrite`` end the process at a name that is no UTF-8.
    """
    lines = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(
            node.func, 'id', '')
        owner = getattr(getattr(node.func, 'value', None), 'id', '')
        words = {word.arg: word.value for word in node.keywords}
        if owner == 'cv2' and name in ('imread', 'imwrite'):
            lines.append(node.lineno)
        if owner in ('Image', 'lmdb', 'lmdb_package', 'os'):
            continue
        if name == 'open':
            place = 0 if isinstance(node.func, ast.Attribute) else 1
            mode = words.get('mode', node.args[place] if len(node.args) > place else None)
            if place == 0 and isinstance(mode, ast.Name):  # a part of an archive
                continue
            text = 'b' not in (mode.value if mode else 'r')
            known = 'encoding' in words
        elif name in ('read_text', 'write_text') and isinstance(node.func, ast.Attribute):
            text, known = True, 'encoding' in words or len(node.args) > (name == 'write_text')
        else:
            continue
        if text and not known:
            lines.append(node.lineno)
    return lines


def test_no_text_file_is_opened_in_the_encoding_of_the_locale():
    wrong = []
    for place in PLACES:
        path = ROOT / place
        for file in [path] if path.is_file() else sorted(path.rglob('*.py')):
            if '.mim' not in file.parts:
                wrong += [f'{file.relative_to(ROOT)}:{line}'
                          for line in undeclared(ast.parse(file.read_text('utf-8')))]
    assert not wrong, '\n'.join(wrong)


@pytest.mark.parametrize('code, found', [
    ("open('a')", 1), ("open('a', 'w')", 1), ("open('a', mode='a')", 1), ("open('a', 'rb')", 0),
    ("open('a', encoding='utf-8')", 0), ("path.open()", 1), ("path.open('wb')", 0),
    ("path.read_text()", 1), ("path.read_text('utf-8')", 0), ("path.write_text(text)", 1),
    ("path.write_text(text, 'utf-8')", 0), ("path.read_text(errors='replace')", 1),
    ("write_text(path, text)", 0), ("cv2.imread(str(path))", 1)])
def test_the_walk_sees_what_it_should(code, found):
    assert len(undeclared(ast.parse(code))) == found


def test_text_of_others_says_what_it_is(tmp_path):
    path = tmp_path / 'a.json'
    for encoding, mark in (('utf-8', b''), ('utf-8-sig', b''), ('utf-16-le', b'\xff\xfe'),
                           ('utf-16-be', b'\xfe\xff'), ('utf-32-le', b'\xff\xfe\0\0')):
        path.write_bytes(mark + '{"ü": ["行"]}'.encode(encoding))
        assert read_json(path) == {'ü': ['行']} and '行' in read_text(path)
    for data, line, fault in ((b'a\nb\xe9\n', 2, 'byte 0xe9'), (b'a\n\nb\0c', 3, 'a zero byte'),
                              ('a\nü'.encode('utf-16-le'), 1, 'a zero byte'),
                              (b'\xff\xfea\0\n\0\0\xd8', 2, 'byte 0x00')):  # half a pair
        path.write_bytes(data)
        with pytest.raises(ValueError, match=rf'a\.json:{line}: no utf-.* text, .*{fault}.*; save'):
            read_text(path)
    path.write_text('{]', 'utf-8')
    with pytest.raises(ValueError, match=r'a\.json is no JSON file'):
        read_json(path)
    with pytest.raises(FileNotFoundError, match='gone'):
        read_json(tmp_path / 'gone')


def test_names_that_are_no_utf8_can_be_written_and_shown(tmp_path):
    assert printable(b'caf\xe9') == printable('caf\udce9') == r'caf\udce9' != printable('café')
    write_text(tmp_path / 'a', 'ü caf\udce9')
    assert (tmp_path / 'a').read_bytes() == 'ü caf\\udce9'.encode()


def test_boxes_are_read_as_utf8_under_a_locale_of_ascii(tmp_path):
    code = ('from clasp_mm.inferencers.boxes import read_boxes; import sys\n'
            'assert open(sys.argv[1]).encoding.lower() not in ("utf-8", "utf8")\n'
            'print(ascii(list(read_boxes(sys.argv[1]))))')
    path = tmp_path / 'boxes.json'
    path.write_text('[{"file": "ü.jpg", "boxes": []}]', 'utf-8')
    found = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code, str(path)], cwd=ROOT, text=True,
        capture_output=True, env={**os.environ, 'LC_ALL': 'C', 'PYTHONUTF8': '0',
                                  'PYTHONCOERCECLOCALE': '0', 'PYTHONPATH': str(ROOT)})
    assert found.stdout == "[('\\xfc.jpg', None)]\n", found.stderr

"""Files that are whole or not there, and what their bytes are known by."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HASH_DIGITS = 8
# UTF-32's first: its mark begins as that of UTF-16.
_MARKS = ((codecs.BOM_UTF8, 'utf-8'), (codecs.BOM_UTF32_LE, 'utf-32-le'),
          (codecs.BOM_UTF32_BE, 'utf-32-be'), (codecs.BOM_UTF16_LE, 'utf-16-le'),
          (codecs.BOM_UTF16_BE, 'utf-16-be'))


def printable(name: str | bytes | os.PathLike) -> str:
    """A file's name in characters that any page, log and terminal can take."""
    return os.fsdecode(name).encode('utf-8', 'backslashreplace').decode()


def read_text(path: str | os.PathLike) -> str:
    """Text that anybody wrote: UTF-8, or UTF-16 or UTF-32 where a byte-order mark says so.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is none of them; names file and line.
    """
    data = Path(path).read_bytes()
    mark, encoding = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)),
                          (b'', 'utf-8'))
    data = data[len(mark):]
    if encoding == 'utf-8' and b'\0' in data:
        at, fault = data.index(b'\0'), 'it holds a zero byte'
    else:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError as error:
            at, fault = error.start, f'byte 0x{data[error.start]:02x}: {error.reason}'
    line = data[:at].decode(encoding, 'replace').count('\n') + 1
    raise ValueError(f'{printable(path)}:{line}: no {encoding} text, {fault}; save the file as '
                     'UTF-8')


def read_json(path: str | os.PathLike) -> Any:
    """What a JSON file holds, in any encoding of :func:`read_text`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no JSON; names the file.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f'{printable(path)} is no JSON file: {error}') from error


def read_rows(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Rows of a log, each a JSON object with its step; a last line that a kill cut off is none.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Another line is no such row; names file and line.
    """
    *lines, last = Path(path).read_bytes().split(b'\n')
    rows = [_row(line) for line in lines]
    if None in rows:
        raise ValueError(f'{printable(path)}:{rows.index(None) + 1}: no JSON object with a step, '
                         'the log is damaged: correct or remove the line')
    last_row = _row(last)
    return rows if last_row is None else [*rows, last_row]


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get('step'), int) else None


def append_row(path: str | os.PathLike, row: Mapping[str, Any]) -> None:
    """Add a row to a log, see :func:`read_rows`.

    Raises:
        OSError: Writing failed; the error names ``path``.
    """
    try:
        with open(path, 'a', encoding='utf-8') as file:
            file.write(json.dumps(row) + '\n')
    except OSError as error:
        raise _named(error, Path(path)) from error


def write_text(path: str | os.PathLike, text: str, sync: bool = True) -> None:
    """Write UTF-8, whole or not at all, see :func:`replacing`; see also :func:`printable`."""
    with replacing(path, sync) as partial:
        partial.write_bytes(text.encode('utf-8', 'backslashreplace'))


def file_hash(path: str | os.PathLike) -> str:
    """First 8 hexadecimal digits of the SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()[:HASH_DIGITS]


@contextmanager
def replacing(path: str | os.PathLike, sync: bool = True) -> Iterator[Path]:
    """Give a name beside ``path`` to write to; what lies there takes its place if all goes well.

    It is on the disk before it takes the final name, so neither ``kill -9`` nor a power cut leaves
    half a file. What a kill leaves under the temporary name the next write overwrites.

    Args:
        path: The final name.
        sync: Wait for the disk. Without it, which suits thousands of small files that can be made
            again, a power cut may leave half a file; a kill may not.

    Raises:
        OSError: Writing failed; the error names ``path``, and nothing is left behind.
    """
    path = Path(path)
    partial = path.with_name(f'{path.name}.partial')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if sync:
            with open(partial, 'rb+') as file:
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _named(error, path) from error
        raise


def _named(error: OSError, path: Path) -> OSError:
    """The error with the file's name, which ``write`` leaves out."""
    return type(error)(error.errno, f'{error.strerror or error} (writing {str(path)!r})',
                       error.filename)

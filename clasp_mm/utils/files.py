"""Files that are whole or not there, and what their bytes are known by."""

import codecs
import hashlib
import itertools
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from .processes import born, is_alive, machine

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

HASH_DIGITS = 8
_MOST_VALUES = 1_000_000  # of a YAML file, its aliases written out
_LONGEST_STEM = 200  # bytes of a name of at most 255 that a temporary one keeps
_PARTIAL = re.compile(r'\.([0-9a-f]{8})-(\d+)-([0-9a-f]{8}|-)-\d+\.partial(\.\w+)?$')
_counter = itertools.count()
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


def read_yaml(path: str | os.PathLike) -> Any:
    """What a YAML file holds: plain data, in any encoding of :func:`read_text`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no YAML, asks for objects by a tag, or its aliases make a loop or more
            than a million values; names the file.
    """
    text = read_text(path)
    try:
        content = yaml.load(text, getattr(yaml, 'CSafeLoader', yaml.SafeLoader))
        if _count(content, {}) > _MOST_VALUES:
            raise ValueError('its aliases make a loop, or too many values')
    except Exception as error:  # the constructors of its types raise what the text leads to
        raise ValueError(f'{printable(path)} is no YAML file of plain data: {error}') from error
    return content


def _count(value: Any, known: dict[int, int]) -> int:
    """Values below one and itself, those of an alias as often as it stands there."""
    if not isinstance(value, dict | list | tuple):
        return 1
    if id(value) not in known:
        known[id(value)] = _MOST_VALUES  # until it is counted: it is inside itself
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count(part, known) for part in parts)
    return known[id(value)]


def write_yaml(path: str | os.PathLike, content: Any) -> None:
    """Write plain data for :func:`read_yaml`, whole or not at all, see :func:`replacing`."""
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100))


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


def read_logs(run: str | os.PathLike) -> list[dict[str, Any]]:
    """Rows that MMEngine logged in a work directory, of all starts of the run; see read_rows."""
    return [row for log in sorted(Path(run).glob('*/vis_data/scalars.json'))
            for row in read_rows(log)]


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


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write UTF-8, whole or not at all, see :func:`replacing`; see also :func:`printable`."""
    with replacing(path) as partial:
        partial.write_bytes(text.encode('utf-8', 'backslashreplace'))


def write_json(path: str | os.PathLike, content: Any, indent: int | None = 1,
               default: Callable[[Any], Any] | None = None) -> None:
    """Write plain data as JSON, see :func:`write_text`; ``default`` makes plain what is not."""
    write_text(path, json.dumps(content, indent=indent, default=default) + '\n')


def file_hash(path: str | os.PathLike, digits: int = HASH_DIGITS) -> str:
    """First hexadecimal digits of the SHA-256 of a file's bytes, of 64."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()[:digits]


@contextmanager
def replacing(path: str | os.PathLike, sync: bool = True) -> Iterator[Path]:
    """Give a name beside ``path`` to write to; what lies there takes its place if all goes well.

    It is on the disk before it takes the final name, so neither ``kill -9`` nor a power cut leaves
    half a file. The name is of this write alone: of several writers the last one to finish wins.

    Args:
        path: The final name.
        sync: Wait for the disk, and :func:`sweep` the folder. Without it, which suits thousands of
            small files that can be made again, a power cut may leave half a file; a kill may not.

    Raises:
        OSError: Writing failed; the error names ``path``, and nothing is left behind.
    """
    path = Path(path)
    partial = partial_name(path)
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
    if sync:
        sweep(path.parent)


def partial_name(path: Path) -> Path:
    """A name beside ``path`` that no other process and no other call takes, see :func:`sweep`."""
    stem = os.fsdecode(os.fsencode(path.name)[:_LONGEST_STEM])
    return path.with_name(f'{stem}.{_writer(os.getpid())}-{next(_counter)}.partial')


@lru_cache(maxsize=1)
def _writer(pid: int) -> str:
    return f'{machine()}-{pid}-{born(pid)}'


def is_partial(path: Path) -> bool:
    """Whether a name is of :func:`partial_name`."""
    return _PARTIAL.search(path.name) is not None


def sweep(folder: str | os.PathLike) -> None:
    """Remove what killed processes left under names of :func:`partial_name` in a folder.

    Their names tell whose they are: what belongs to a living process or to another machine stays.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = '.partial' in entry.name and _PARTIAL.search(entry.name)
            if not found or found[1] != machine() or is_alive(int(found[2]), found[3]):
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with suppress(OSError):  # another process was faster
                    os.unlink(entry.path)


@contextmanager
def temporary_folder(path: str | os.PathLike) -> Iterator[Path]:
    """A folder beside ``path`` to work in, which goes at the end; see also :func:`sweep`."""
    path = Path(path)
    folder = partial_name(path)
    folder.mkdir(parents=True)
    sweep(path.parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(path: str | os.PathLike, waiting: str = '') -> Iterator[None]:
    """Let one process (or thread) at a time work on ``path``, which need not be there.

    The lock is ``flock`` on ``.NAME.lock`` beside it, which the system opens when a process ends
    in any way, and whose file goes with the last user. Where there is no ``flock`` (Windows, some
    network disks) nothing is locked: files are whole even so, but of two changes at the same time
    one may be lost. It is not reentrant.

    Args:
        path: What is worked on.
        waiting: Said on stderr where another process has to be waited for.
    """
    path = Path(os.path.abspath(path))  # '.' has no name
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f'.{path.name}.lock')
    file = _flock(lock, waiting)
    try:
        yield
    finally:
        if file is not None:
            lock.unlink(missing_ok=True)  # before the lock is open: nobody else has it
            fcntl.flock(file, fcntl.LOCK_UN)  # closing would not: forked children have the file too
            os.close(file)


def _flock(path: Path, waiting: str) -> int | None:
    while fcntl is not None:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:  # nothing can be written here
            return None
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting:
                    print(waiting, file=sys.stderr, flush=True)
                    waiting = ''
                fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.stat(path), os.fstat(file)):
                    return file
            os.close(file)  # who had it removed the file: the next one is another
        except OSError:  # no locks on this disk
            os.close(file)
            return None
        except BaseException:
            os.close(file)
            raise
    return None


def _named(error: OSError, path: Path) -> OSError:
    """The error with the file's name, which ``write`` leaves out."""
    return type(error)(error.errno, f'{error.strerror or error} (writing {str(path)!r})',
                       error.filename)

"""Files that are whole or not there, and what their bytes are known by."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HASH_DIGITS = 8


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

"""The files of a label store: opened strictly, checksummed, with room on the disk."""

import json
import os
import zlib
from pathlib import Path

import numpy as np

HEADER, CHECKSUMS, BLOCKS = 'header.json', 'checksums.json', 'blocks.json'
_BLOCK = 1 << 18


def open_array(path: Path, mode: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Map an array that must be of this type and shape.

    Raises:
        ValueError: It is missing, damaged or another.
    """
    try:
        array = np.load(path, mmap_mode=mode, allow_pickle=False)
    except Exception as error:  # NumPy evaluates the array's header: any error of Python's parser
        raise ValueError(f'{str(path)!r} of a label store is missing, cut off or damaged '
                         f'({error}); make the store again') from error
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f'{str(path)!r} holds {array.dtype} of shape {array.shape}, its header '
                         f'says {dtype} of shape {shape}; make the store again')
    return array


def read_json(path: Path, name: str) -> dict:
    """Read the JSON file ``name`` of the store in ``path``.

    Raises:
        ValueError: It is missing or damaged.
    """
    try:
        content = json.loads((path / name).read_bytes())
    except (ValueError, OSError, RecursionError) as error:
        raise ValueError(f'{name} of the label store {str(path)!r} is damaged ({error}); make the '
                         'store again') from error
    if not isinstance(content, dict):
        raise ValueError(f'{name} of the label store {str(path)!r} is damaged: it holds '
                         f'{content!r:.200}; make the store again')
    return content


def checksum(path: Path) -> str:
    """CRC-32 of a file's bytes, 8 hexadecimal digits."""
    value = 0
    with open(path, 'rb') as file:
        while chunk := file.read(1 << 18):
            value = zlib.crc32(chunk, value)
    return f'{value:08x}'


def block_checksums(path: Path) -> list[str]:
    """CRC-32 of each block of a file, for :func:`check_blocks`."""
    with open(path, 'rb') as file:
        return [f'{zlib.crc32(block):08x}' for block in iter(lambda: file.read(_BLOCK), b'')]


def check_blocks(path: Path, count: int) -> list[str]:
    """Names of the store's files of which one of ``count`` blocks, drawn anew each time, differs.

    A store that was made before has no checksums of blocks, and none is named.
    """
    if not (path / BLOCKS).is_file():
        return []
    stated = [(name, number, value) for name, values in read_json(path, BLOCKS).items()
              for number, value in enumerate(values)]
    damaged = []
    for at in np.random.default_rng().permutation(len(stated))[:count]:
        name, number, value = stated[at]
        try:
            with open(path / name, 'rb') as file:
                file.seek(number * _BLOCK)
                found = f'{zlib.crc32(file.read(_BLOCK)):08x}'
        except OSError:
            found = ''
        if found != value:
            damaged.append(name)
    return sorted(set(damaged))


def reserve(path: Path) -> None:
    """Take a sparse file's disk space now: a map on a full disk kills the process by SIGBUS.

    Raises:
        OSError: The disk has not that much left.
    """
    if hasattr(os, 'posix_fallocate'):
        with open(path, 'rb+') as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from error

"""Millions of image names as one byte buffer, without a Python object per name."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable, Iterator

import numpy as np

from clasp_mm.utils.files import read_text, replacing

_NEWLINE, _CARRIAGE_RETURN = 10, 13
_UTF8_MARK = codecs.BOM_UTF8
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_CHUNK = 1 << 26


class NameTable:
    """Names as slices of one buffer: what 4 M images cost is 12 bytes each beside their text.

    A table read from a list file maps the file into memory, so processes share it; it is pickled
    by path. Names are UTF-8; undecodable bytes survive as surrogate escapes, as in ``os.fsdecode``.

    Args:
        buffer: (T,) uint8, the text.
        starts: (N,) int64, where each name begins.
        lengths: (N,) int32, bytes of each name.
        path: The file that ``buffer`` maps, if it does.
    """

    def __init__(self, buffer: np.ndarray, starts: np.ndarray, lengths: np.ndarray,
                 path: str | None = None) -> None:
        self._buffer = buffer
        self._starts = starts
        self._lengths = lengths
        self._path = path

    @classmethod
    def from_file(cls, path: str | os.PathLike) -> NameTable:
        """Map a text file with one name per line; blank lines do not count.

        One that a byte-order mark declares as UTF-16 or UTF-32 is read instead.

        Raises:
            ValueError: It is no text; names file and line.
        """
        path = os.fspath(path)
        if os.path.getsize(path) == 0:
            return cls.from_names(())
        buffer = np.memmap(path, np.uint8, mode='r')
        if bytes(buffer[:4]).startswith(_WIDE_MARKS) or any(
                (buffer[at:at + _CHUNK] == 0).any() for at in range(0, len(buffer), _CHUNK)):
            lines = (line.removesuffix('\r') for line in read_text(path).split('\n'))
            return cls.from_names(line.encode() for line in lines if line)
        breaks = [np.flatnonzero(buffer[at:at + _CHUNK] == _NEWLINE) + at
                  for at in range(0, len(buffer), _CHUNK)]
        ends = np.concatenate(breaks)
        if buffer[-1] != _NEWLINE:
            ends = np.append(ends, len(buffer))
        starts = np.empty_like(ends)
        starts[0] = len(_UTF8_MARK) if bytes(buffer[:len(_UTF8_MARK)]) == _UTF8_MARK else 0
        starts[1:] = ends[:-1] + 1
        filled = ends > starts
        ends -= filled & (buffer[np.maximum(ends, 1) - 1] == _CARRIAGE_RETURN)
        keep = ends > starts
        starts = starts[keep]
        return cls(buffer, starts, (ends[keep] - starts).astype(np.int32), path)

    @classmethod
    def from_names(cls, names: Iterable[bytes]) -> NameTable:
        """Copy names, given as UTF-8 bytes, into a table of their own.

        Raises:
            ValueError: A name holds a line break, which no list of names can carry.
        """
        text, lengths = bytearray(), []
        for name in names:
            if b'\n' in name:
                raise ValueError(f'rename {name!r}: an image name must not hold a line break')
            text += name + b'\n'
            lengths.append(len(name))
        lengths = np.asarray(lengths, np.int32)
        starts = np.cumsum(lengths + 1, dtype=np.int64) - lengths - 1
        return cls(np.frombuffer(text, np.uint8), starts, lengths)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> str:
        return self.raw(index).decode('utf-8', 'surrogateescape')

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))

    def raw(self, index: int) -> bytes:
        """The name's bytes, as they stand in the file system or the LMDB."""
        start = self._starts[index]
        return self._buffer[start:start + self._lengths[index]].tobytes()

    def stripped(self) -> list[str]:
        """The names without the spaces around them; lines of nothing else do not count."""
        return [name for line in self if (name := line.strip())]

    def take(self, indices: np.ndarray) -> NameTable:
        """The named subset, in the given order, over the same buffer."""
        return NameTable(self._buffer, self._starts[indices], self._lengths[indices], self._path)

    def save(self, path: str | os.PathLike) -> None:
        """Write the list file that :meth:`from_file` reads, all of it or nothing."""
        path = os.path.abspath(os.fspath(path))
        with replacing(path) as partial, open(partial, 'wb') as file:
            for lines in self._lines():
                file.write(lines)

    def _lines(self) -> Iterator[bytes]:
        """The names, a newline after each, in the longest runs that stand so in the buffer."""
        ends = self._starts + self._lengths
        first = np.flatnonzero(np.append(True, self._starts[1:] != ends[:-1] + 1)[:len(ends)])
        for begin, last in zip(first, np.append(first[1:], len(ends)) - 1, strict=True):
            yield self._buffer[self._starts[begin]:ends[last]].tobytes() + b'\n'

    def __getstate__(self) -> dict:
        state = self.__dict__.copy()
        if self._path is not None:
            del state['_buffer']
        return state

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        if self._path is not None:
            self._buffer = np.memmap(self._path, np.uint8, mode='r')

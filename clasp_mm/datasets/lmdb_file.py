"""Reads an LMDB by bounds: whatever its bytes say, a damaged one is an error and never a signal.

The lmdb library maps the file and trusts it: a file that was cut off, or a wrong offset in a page,
ends the process by SIGBUS or SIGSEGV. Here every page is read (a bad sector is an OSError) and
every offset held against its page. Layout: ``mdb.c`` of LMDB 0.9, format 1 of 64 bits.
"""

import os
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from clasp_mm.utils.files import printable

_HEAD = struct.Struct('<QHHHH')       # MDB_page: number, pad, flags, ends of its free room
_PAGES = struct.Struct('<QxxHI')      # of an overflow page: number, flags, how many pages it is
_META = struct.Struct('<16xIIQQ')     # magic, version, address, size of the map
_TREE = struct.Struct('<IHHQQQQQ')    # MDB_db: pad, flags, depth, 3 x pages, entries, root
_NODE = struct.Struct('<HHHH')        # low and high half of a size or page, flags, size of the key
_MAIN, _LAST = 40 + _TREE.size, 40 + 2 * _TREE.size
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_BRANCH, _LEAF, _OVERFLOW, _META_PAGE = 1, 2, 4, 8
_BIG_DATA = 1
_NO_PAGE, _DEEPEST, _KEPT = 2**64 - 1, 32, 256
_META_BYTES = 40 + 2 * _TREE.size + 16


class LmdbError(ValueError):
    """An LMDB that is damaged, or of a kind that is not read; names the file."""


def _key_in(data: bytes, at: int) -> bytes:
    """Key of the node at a place of a page; of a damaged one, as far as the page goes."""
    return data[at + 8:at + 8 + (data[at + 6] | data[at + 7] << 8)]


class _Page(NamedTuple):
    number: int
    data: bytes
    branch: bool
    nodes: tuple[int, ...]


class LmdbFile:
    """The main database of ``folder/data.mdb``, of names without duplicates, to read.

    Its state is that of the last transaction when it was opened. Safe after a fork and in threads;
    unpickled, it is opened again.

    Args:
        folder: Folder of ``data.mdb``.

    Raises:
        FileNotFoundError: There is none.
        LmdbError: It is no LMDB, or shorter than its header says.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = folder
        self.path = os.path.join(folder, 'data.mdb')
        self._file = open(self.path, 'rb', buffering=0)  # closed with this object
        self._size = os.fstat(self._file.fileno()).st_size
        metas = [self._meta(0)]
        metas.append(self._meta(metas[0][1]))
        _, self._page_size, flags, self._root, last = max(metas)
        if flags:
            raise self._error(f'its main database has flags {flags:#x} (duplicates or another '
                              'order), which are not read')
        self._pages = last + 1
        self._branches: dict[int, _Page] = {}
        if self._pages * self._page_size > self._size:
            raise self._error(f'it is cut off: its header says {self._pages} pages of '
                              f'{self._page_size} bytes, and it has {self._size} bytes')

    def __reduce__(self) -> tuple[type, tuple[str | os.PathLike]]:
        return LmdbFile, (self.folder, )

    def keys(self) -> Iterator[bytes]:
        """All keys, in the order of their bytes.

        Raises:
            LmdbError: A page is damaged.
        """
        waiting = [] if self._root == _NO_PAGE else [(self._root, 1)]
        while waiting:
            number, depth = waiting.pop()
            if depth > _DEEPEST:
                raise self._error(f'its tree is deeper than {_DEEPEST} pages')
            page = self._page(number)
            nodes = range(len(page.nodes))
            if page.branch:
                waiting += [(self._child(page, node), depth + 1) for node in reversed(nodes)]
            else:
                yield from (self._key(page, node) for node in nodes)

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None.

        Raises:
            LmdbError: A page on the way is damaged.
        """
        number = self._root
        if number == _NO_PAGE:
            return None
        for _ in range(_DEEPEST):
            page = self._branches.get(number) or self._page(number)
            key_at = partial(_key_in, page.data)
            if not page.branch:
                node = bisect_left(page.nodes, key, key=key_at)
                found = node < len(page.nodes) and self._key(page, node) == key
                return self._value(page, node) if found else None
            if len(self._branches) < _KEPT:  # the first ones are those near the root
                self._branches[number] = page
            # The first key of a branch stands for all that is smaller and is empty.
            number = self._child(page, bisect_right(page.nodes, key, 1, key=key_at) - 1)
        raise self._error(f'its tree is deeper than {_DEEPEST} pages')

    def _meta(self, at: int) -> tuple[int, int, int, int, int]:
        """Transaction, size of a page, and flags, root and last page of the main database."""
        data = self._read(at, _META_BYTES)
        magic, version, *_ = _META.unpack_from(data)
        page_size = _TREE.unpack_from(data, 40)[0]
        if magic != _MAGIC or not _HEAD.unpack_from(data)[2] & _META_PAGE:
            raise self._error(f'no LMDB begins so (at byte {at})')
        if version != _VERSION:
            raise self._error(f'it has format {version}; format {_VERSION} (LMDB 0.9) is read')
        if page_size not in (1 << bits for bits in range(9, 17)):
            raise self._error(f'its header says pages of {page_size} bytes')
        tree = _TREE.unpack_from(data, _MAIN)
        last, transaction = struct.unpack_from('<QQ', data, _LAST)
        return transaction, page_size, tree[1], tree[7], last

    def _page(self, number: int) -> _Page:
        """A branch or leaf page whose nodes all begin in it."""
        data = self._of_page(number, self._page_size)
        own, _, flags, lower, upper = _HEAD.unpack_from(data)
        kind = flags & (_BRANCH | _LEAF | _OVERFLOW | _META_PAGE)
        if own != number or kind not in (_BRANCH, _LEAF) or not 16 <= lower <= upper <= len(data):
            raise self._error(f'page {number} is damaged')
        nodes = struct.unpack_from(f'<{(lower - 16) // 2}H', data, 16)
        if max(nodes, default=-8 if kind == _LEAF else len(data)) + 8 > len(data):
            raise self._error(f'page {number} is damaged')
        return _Page(number, data, kind == _BRANCH, nodes)

    def _key(self, page: _Page, node: int) -> bytes:
        at = page.nodes[node] + 8
        end = at + _NODE.unpack_from(page.data, at - 8)[3]
        if end > len(page.data):
            raise self._error(f'page {page.number} is damaged')
        return page.data[at:end]

    def _child(self, page: _Page, node: int) -> int:
        low, high, highest, _ = _NODE.unpack_from(page.data, page.nodes[node])
        return low | high << 16 | highest << 32

    def _value(self, page: _Page, node: int) -> bytes:
        at = page.nodes[node]
        low, high, flags, key_size = _NODE.unpack_from(page.data, at)
        at, size = at + 8 + key_size, low | high << 16
        if flags == 0 and at + size <= len(page.data):
            return page.data[at:at + size]
        if flags != _BIG_DATA or at + 8 > len(page.data):
            raise self._error(f'page {page.number} is damaged, or holds another database')
        number = int.from_bytes(page.data[at:at + 8], 'little')
        own, flags, pages = _PAGES.unpack(self._of_page(number, 16))
        if own != number or not flags & _OVERFLOW or 16 + size > pages * self._page_size:
            raise self._error(f'page {number} is damaged')
        return self._of_page(number, 16 + size)[16:]

    def _of_page(self, number: int, size: int) -> bytes:
        if not 2 <= number <= self._pages - -(-size // self._page_size):
            raise self._error(f'it has no page {number} of {size} bytes: the one that names it is '
                              'damaged')
        return self._read(number * self._page_size, size)

    def _read(self, at: int, size: int) -> bytes:
        try:
            if hasattr(os, 'pread'):
                data = os.pread(self._file.fileno(), size, at)
            else:
                self._file.seek(at)
                data = self._file.read(size)
        except OSError as error:
            raise self._error(f'bytes from {at} on cannot be read: {error.strerror}') from error
        if len(data) < size:
            raise self._error(f'it is cut off: it has {self._size} bytes')
        return data

    def _error(self, what: str) -> LmdbError:
        return LmdbError(f'{printable(self.path)}: {what}; fetch or make the LMDB again')

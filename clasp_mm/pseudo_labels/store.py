"""Pseudo-labels of a list of images on disk: memory-mapped arrays, one row per image."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path

import numpy as np

from clasp_mm.utils.files import locked, temporary_folder, write_json

from .hashing import hash_name
from .labels import LabelSettings, PseudoLabels
from .store_files import (
    BLOCKS,
    CHECKSUMS,
    HEADER,
    block_checksums,
    check_blocks,
    checksum,
    open_array,
    read_json,
    reserve,
)
from .vocabulary import Vocabulary

FORMAT_VERSION = 2
TODO, LABELLED, UNREADABLE = 0, 1, 2
_COMMIT_SECONDS = 10.0


def _pack(regions: np.ndarray) -> np.ndarray:
    """Two 4-bit region numbers per byte, the first in the low half: (..., L) -> (..., (L+1)//2)."""
    if regions.shape[-1] % 2:
        regions = np.concatenate([regions, np.zeros_like(regions[..., :1])], axis=-1)
    return regions[..., ::2] | (regions[..., 1::2] << 4)


def _unpack(packed: np.ndarray, length: int) -> np.ndarray:
    pairs = np.stack([packed & 15, packed >> 4], axis=-1)
    return pairs.reshape(*packed.shape[:-1], -1)[..., :length]


def list_digest(hashes: np.ndarray) -> str:
    """Short hash of a list of images, from the hashes of their names in order."""
    return hashlib.sha256(np.ascontiguousarray(hashes, '<u8')).hexdigest()[:16]


def _columns(header: Mapping) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Data type and row shape of each array."""
    numbers = header['settings']['cluster_numbers']
    height, width = header['grid']
    num_attributes = len(header['vocabulary']['attributes'])
    return {name: (np.dtype(dtype), shape) for name, (dtype, shape) in dict(
        regions=('u1', (len(numbers), (height * width + 1) // 2)),
        region_label=('u1', (sum(numbers),)), region_conf=('<f2', (sum(numbers),)),
        attr_value=('u1', (num_attributes,)), attr_conf=('<f2', (num_attributes,)),
        foreground=('<f4', ()), person_cosine=('<f4', ()), status=('u1', ())).items()}


def make_header(hashes: np.ndarray, vocabulary: Vocabulary, clip_id: str, teacher_id: str,
                settings: LabelSettings, grid: tuple[int, int]) -> dict:
    """What a store records of how it was made; see :class:`LabelStore` for the fields."""
    return dict(
        version=FORMAT_VERSION, num_images=len(hashes), image_list=list_digest(hashes),
        vocabulary=vocabulary.to_dict(), vocabulary_digest=vocabulary.digest(), clip=clip_id,
        teacher=teacher_id, settings=settings.to_dict(), grid=list(grid))


def check_header(header: Mapping, expected: Mapping, where: str) -> None:
    """Compare a store's header with what is expected of it.

    Raises:
        ValueError: Naming the field, both values, and the way out.
    """
    for name, value in expected.items():
        difference = _first_difference(name, header.get(name), value)
        if difference:
            where_in, found, wanted = difference
            raise ValueError(
                f'the label store {where!r} was made with {where_in} = {found!r:.200}, but '
                f'{wanted!r:.200} is wanted; use the same, or make a store of its own for it')


def _first_difference(name: str, found: object, wanted: object) -> tuple | None:
    """Where two trees of plain data first differ: (path, found, wanted) or None."""
    if found == wanted:
        return None
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        pairs = [(f'{name}.{key}', found.get(key), wanted.get(key))
                 for key in {**found, **wanted}]
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        pairs = [(f'{name}[{i}]', *pair) for i, pair in enumerate(zip(found, wanted, strict=True))]
    else:
        return name, found, wanted
    return next(filter(None, (_first_difference(*pair) for pair in pairs)))


class LabelStore:
    """Read labels by image name.

    Nothing is read at construction but the header, against its checksum; each process maps the
    arrays on first use, so a store can be pickled and survives a fork. Then their sizes are
    checked, and every row that is read must hold labels that can be; :meth:`verify` reads all.

    Args:
        path: The store's folder.
        **expected: Values that the header must have: ``num_images``, ``image_list`` (see
            :func:`list_digest`), ``vocabulary_digest``, ``clip``, ``teacher``, ``settings``,
            ``grid``.

    Attributes:
        header: version, num_images, image_list, vocabulary (full) and its digest, clip and
            teacher identities, settings (:class:`LabelSettings`), grid (h, w).

    Raises:
        FileNotFoundError: If there is no store.
        ValueError: If it is unfinished, of another version, damaged or not as expected.
    """

    def __init__(self, path: str | os.PathLike, **expected) -> None:
        self.path = Path(path)
        self.header = _read_header(self.path)
        if checksum(self.path / HEADER) != read_json(self.path, CHECKSUMS).get(HEADER):
            raise ValueError(f'the header of the label store {str(self.path)!r} changed since the '
                             'store was made; copy it again or make it again')
        check_header(self.header, expected, str(self.path))
        self.vocabulary = Vocabulary.from_dict(self.header['vocabulary'])
        self.settings = LabelSettings.from_dict(self.header['settings'])
        self.grid = tuple(self.header['grid'])
        self._highest = {
            'regions': np.array(self.settings.cluster_numbers, np.uint8)[:, None],
            'region_label': len(self.vocabulary.parts),
            'attr_value': np.array([len(attribute.values) - 1 for attribute in
                                    self.vocabulary.attributes], np.uint8)}

    def __len__(self) -> int:
        return self.header['num_images']

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name != 'arrays'}

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Memory maps by name; ``regions`` is packed."""
        columns = dict(_columns(self.header), name_hash=(np.dtype('<u8'), ()),
                       name_row=(np.dtype('<u4'), ()))
        return {name: open_array(self.path / f'{name}.npy', 'r', dtype, (len(self), *shape))
                for name, (dtype, shape) in columns.items()}

    def verify(self, blocks: int | None = None) -> None:
        """Compare every byte with the checksums written when the store was finished.

        Args:
            blocks: Only so many blocks of 256 kB, drawn anew in each call.

        Raises:
            ValueError: Naming the files that were changed or damaged since.
        """
        if blocks is not None:
            damaged = check_blocks(self.path, blocks)
        else:
            damaged = [name for name, value in read_json(self.path, CHECKSUMS).items() if
                       not (self.path / name).is_file() or checksum(self.path / name) != value]
        if damaged:
            raise ValueError(f'{", ".join(damaged)} of the label store {str(self.path)!r} changed '
                             'since the store was made; copy it again or make it again')

    def row_of(self, name: str) -> int:
        """The row of an image.

        Raises:
            KeyError: If the store holds no such image.
            ValueError: If the store is damaged.
        """
        hashes = self.arrays['name_hash']
        value = np.uint64(hash_name(name))
        at = int(np.searchsorted(hashes, value))
        if at == len(hashes) or hashes[at] != value:
            raise KeyError(
                f'the label store {str(self.path)!r} has no image {name!r}; it was made from '
                f'another list of {len(self)} images, or from another data root')
        row = int(self.arrays['name_row'][at])
        if row >= len(self):
            raise self._damaged(f'image {name!r} is row {row} of {len(self)}')
        return row

    def read(self, rows: Sequence[int] | slice | np.ndarray) -> PseudoLabels:
        """Labels of some rows; unreadable images have no foreground.

        Raises:
            ValueError: If a row holds numbers that are no labels.
        """
        values = {name: np.array(self.arrays[name][rows]) for name in _columns(self.header)
                  if name != 'status'}
        values['regions'] = _unpack(values['regions'], self.grid[0] * self.grid[1])
        for name, highest in self._highest.items():
            if (values[name] > highest).any():
                raise self._damaged(f'{name} of rows {rows} holds {values[name].max()}')
        return PseudoLabels(**values)

    def _damaged(self, symptom: str) -> ValueError:
        return ValueError(f'the label store {str(self.path)!r} is damaged ({symptom}); '
                          'LabelStore(path).verify() names the files; copy or make it again')

    def lookup(self, name: str) -> PseudoLabels:
        """Labels of one image, B = 1.

        Raises:
            KeyError: If the store holds no such image.
            ValueError: If its row holds numbers that are no labels.
        """
        row = self.row_of(name)
        try:
            return self.read(slice(row, row + 1))
        except ValueError as error:
            raise ValueError(f'image {name!r}: {error}') from error


def _read_header(path: Path) -> dict:
    if not (path / HEADER).is_file():
        partial = _partial_path(path)
        if (partial / HEADER).is_file():
            raise ValueError(f'the label store {str(path)!r} is unfinished ({progress(partial)}); '
                             'run the same make_pseudo_labels command again to finish it')
        raise FileNotFoundError(f'there is no label store at {str(path)!r}; make one with '
                                'clasp label make')
    header = read_json(path, HEADER)
    check_header(header, {'version': FORMAT_VERSION}, str(path))
    return header


def _partial_path(path: Path) -> Path:
    return path.with_name(f'{path.name}.partial')


def progress(partial: Path) -> str:
    """'n of N images labelled' of an unfinished store."""
    try:
        status = np.load(partial / 'status.npy', mmap_mode='r')
    except Exception as error:  # NumPy evaluates the header: any error of Python's parser
        return f'how far cannot be read: {error}'
    return f'{np.count_nonzero(status)} of {len(status)} images labelled'


class StoreWriter(AbstractContextManager):
    """Fill a store's rows, in any order and from any number of processes, and finish it.

    The arrays lie in ``PATH.partial`` until every row is done. A row counts as done only after
    its data is on disk, so whatever moment a run is killed at, running it again loses the last
    seconds and no more. Processes need no word with each other: who finds every row done renames
    the folder.

    Args:
        path: The finished store's folder.
        header: From :func:`make_header`; a partial store must have been made with the same.
        hashes: Hashes of the image names, (N,) uint64, in row order.

    Raises:
        FileExistsError: If there is a finished store already.
        ValueError: If the partial store was made with another header.
    """

    def __init__(self, path: str | os.PathLike, header: Mapping, hashes: np.ndarray) -> None:
        self.path = Path(path)
        self.partial = _partial_path(self.path)
        if not len(hashes):
            raise ValueError('a label store needs at least one image, got none')
        if self.path.exists():
            raise FileExistsError(f'{str(self.path)!r} is there already; remove it to make it anew')
        if not self.partial.exists():
            self._create(header, hashes)
        found = _read_header(self.partial)
        check_header(found, header, str(self.partial))
        self._arrays = {
            name: open_array(self.partial / f'{name}.npy', 'r+', dtype, (len(hashes), *shape))
            for name, (dtype, shape) in _columns(found).items()}
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._committed = time.monotonic()

    def _create(self, header: Mapping, hashes: np.ndarray) -> None:
        """Make the partial store complete under another name, then move it there at once."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        row = sum(dtype.itemsize * int(np.prod(shape)) for dtype, shape in
                  _columns(header).values()) + 12
        free = shutil.disk_usage(self.path.parent).free
        if row * len(hashes) > free:
            raise OSError(errno.ENOSPC, f'the labels of {len(hashes)} images take '
                          f'{row * len(hashes) / 1e9:.1f} GB, {free / 1e9:.1f} GB are free',
                          str(self.path.parent))
        with temporary_folder(self.partial) as fresh:
            for name, (dtype, shape) in _columns(header).items():
                np.lib.format.open_memmap(
                    fresh / f'{name}.npy', 'w+', dtype, (len(hashes), *shape)).flush()
                reserve(fresh / f'{name}.npy')
            order = np.argsort(hashes, kind='stable')
            np.save(fresh / 'name_hash.npy', hashes[order].astype('<u8'))
            np.save(fresh / 'name_row.npy', order.astype('<u4'))
            (fresh / HEADER).write_text(json.dumps(header, indent=1), 'utf-8')
            try:
                fresh.rename(self.partial)
            except OSError:
                if not self.partial.exists():         # else another process was faster
                    raise

    @property
    def todo(self) -> np.ndarray:
        """Rows that are not done, (n,) int64."""
        return np.flatnonzero(self._arrays['status'] == TODO)

    def write(self, rows: np.ndarray, labels: PseudoLabels, readable: np.ndarray) -> None:
        """Write labels of some rows.

        Args:
            rows: (B,) row numbers.
            labels: Labels of B images.
            readable: (B,) bool; False marks a row as an unreadable image.
        """
        for name, values in vars(labels).items():
            self._arrays[name][rows] = _pack(values) if name == 'regions' else values
        status = np.where(readable, LABELLED, UNREADABLE).astype(np.uint8)
        self._pending.append((np.asarray(rows), status))
        if time.monotonic() - self._committed > _COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Bring what was written to disk, and only then mark it as done."""
        for name, array in self._arrays.items():
            if name != 'status':
                array.flush()
        for rows, status in self._pending:
            self._arrays['status'][rows] = status
        self._arrays['status'].flush()
        self._pending.clear()
        self._committed = time.monotonic()

    def finish(self) -> LabelStore | None:
        """Commit; if no row is left anywhere, the store takes its final name.

        Returns:
            The finished store, or None if rows are left, for other processes or another run.
        """
        self.commit()
        if len(self.todo):
            return None
        with locked(self.path):
            if not self.path.exists():            # else another process was faster
                arrays = sorted(self.partial.glob('*.npy'))
                blocks = {array.name: block_checksums(array) for array in arrays}
                write_json(self.partial / BLOCKS, blocks, indent=None)
                sums = {file.name: checksum(file) for file in
                        [self.partial / HEADER, self.partial / BLOCKS, *arrays]}
                write_json(self.partial / CHECKSUMS, sums)
                self.partial.rename(self.path)
        return LabelStore(self.path)

    def __exit__(self, *error: object) -> None:
        self.commit()

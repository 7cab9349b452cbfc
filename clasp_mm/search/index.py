"""Features of a folder of images, kept on disk, of which only what changed is computed again."""

import hashlib
import io
import json
import math
import os
import re
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from clasp_mm.datasets import LUPerson
from clasp_mm.datasets.images import resize_images
from clasp_mm.datasets.inputs import normalize, statistics
from clasp_mm.datasets.luperson import find_lmdb
from clasp_mm.datasets.readable import aligned_batches, readable_batches
from clasp_mm.models.backbones import PCMoESwin
from clasp_mm.models.weights.trained_with import hidden_settings
from clasp_mm.pseudo_labels.clip_model import CLIPModel, state_digest
from clasp_mm.pseudo_labels.store_files import checksum, reserve
from clasp_mm.pseudo_labels.transfer import late
from clasp_mm.utils.device import computes_in_bfloat16, precision
from clasp_mm.utils.files import locked, read_json, replacing, write_json
from clasp_mm.utils.shards import Blocks, digest

SEGMENT_ROWS = 8192  # images that are lost at most where a run is killed
_SPARE_SEGMENTS = 8
_BFLOAT16 = '-bfloat16'


class Encoder(NamedTuple):
    """What makes features of images.

    Attributes:
        name: Name of its features: it changes with weights, settings, prompt and input size.
        size: (H, W) to which images are brought.
        encode: Images (B, 3, H, W) uint8 RGB to unit features (B, C).
    """

    name: str
    size: tuple[int, int]
    encode: Callable[[Tensor], Tensor]


class Update(NamedTuple):
    """What :meth:`FeatureIndex.update` found.

    Attributes:
        num_images: Images of the folder that have features.
        new: How many of them were embedded, as they were new or had changed.
        gone: How many features there are of files that are gone or have changed since.
        unreadable: Names of the others, and why.
    """

    num_images: int
    new: int
    gone: int
    unreadable: list[str]


def clip_encoder(clip: CLIPModel, amp: bool | None = None) -> Encoder:
    """Embeddings of whole images by CLIP, which texts are compared with.

    ``amp`` is that of :func:`clasp_mm.utils.device.precision`; features of another precision have
    another name.
    """
    device = clip.device

    def encode(images: Tensor) -> Tensor:
        with precision(device, amp):
            features = clip.encode_images(images.to(device, non_blocking=True).float() / 255)
        return F.normalize(features.float(), dim=1) if fast else features

    fast = computes_in_bfloat16(device, amp)
    return Encoder(f'clip-{clip.identity}' + _BFLOAT16 * fast, tuple(clip.size), encode)


def pooled_features(backbone: nn.Module, images: Tensor, *told: Any, amp: bool | None = None
                    ) -> Tensor:
    """Means over the last map, (B, C) float32, of images (B, 3, H, W) uint8 RGB.

    ``told`` is what the backbone gets beside the images; ``amp`` as of :func:`clip_encoder`.
    """
    device = next(backbone.parameters()).device
    with precision(device, amp):
        last = backbone(normalize(images.to(device, non_blocking=True), backbone), *told)[-1]
    return last.float().mean((2, 3))


def backbone_digest(backbone: nn.Module) -> str:
    """Hash of what decides the features but the prompt: weights, settings and normalisation."""
    hidden = hidden_settings(backbone) if isinstance(backbone, PCMoESwin) else {}
    return digest(state_digest(backbone), hidden, statistics(backbone))


def backbone_encoder(backbone: nn.Module, size: tuple[int, int],
                 task: str | Sequence[str] | float | None, amp: bool | None = None) -> Encoder:
    """Means over the last map of a backbone, as ``clasp embed`` writes them, of unit length.

    ``task`` is what the backbone is told: of a ``SemanticSwin`` the semantic weight; ``amp`` as of
    :func:`clip_encoder`.
    """
    told = '+'.join(map(str, task)) if isinstance(task, list | tuple) else task
    name = f'look-{backbone_digest(backbone)}-{told}-{size[0]}x{size[1]}'
    name += _BFLOAT16 * computes_in_bfloat16(next(backbone.parameters()).device, amp)

    def encode(images: Tensor) -> Tensor:
        return F.normalize(pooled_features(backbone, images, task, amp=amp), dim=1)

    return Encoder(name, tuple(size), encode)


class FeatureIndex:
    """Unit features of a folder's images by one encoder.

    A feature is known by a hash of its file's name, size and time of change, so a file that was
    written again is a new one. Segments of up to ``SEGMENT_ROWS`` features are files that are
    complete or not there: a run that is killed goes on from the last. They are held against the
    checksum in their names and mapped, and nothing is held for an image but a few bytes.

    Several processes may use one folder: one embeds, the others wait for it and embed what is left.
    What was mapped is read to its end, whatever they write and remove meanwhile.

    Args:
        root: Folder of the indices; this one's lies in it, under the encoder's name.
        source: The images.
        encoder: Encoder of the features.
    """

    def __init__(self, root: str | os.PathLike, source: LUPerson, encoder: Encoder) -> None:
        self.folder = Path(root) / re.sub(r'[^\w.+-]', '_', encoder.name)
        self.source, self.encoder = source, encoder
        self.keys = _file_keys(source)
        self._order = np.argsort(self.keys, kind='stable')
        self._segments: list[np.ndarray] | None = None

    def update(self, batch_size: int = 64, num_workers: int = 2, progress: bool = True) -> Update:
        """Embed what has no feature yet. Files that cannot be read are tried again every time.

        Args:
            batch_size: Images per forward.
            num_workers: Processes that read images.
            progress: Show a bar.

        Raises:
            ValueError: The index is damaged.
        """
        with locked(self.folder, f'another process embeds into {self.folder}: waiting for it'):
            write_json(self.folder / 'index.json', dict(
                source=self.source.source, encoder=self.encoder.name, size=self.encoder.size))
            kept, known = self._known()
            missing = self._missing(known)
            gone = int((~np.isin(known, self.keys)).sum())
            new, faults = self._embed(missing, batch_size, num_workers, progress)
            live = len(self.keys) - len(faults)
            segments = len(kept) + math.ceil(new / SEGMENT_ROWS)
            if gone > live or segments > 2 * math.ceil(live / SEGMENT_ROWS) + _SPARE_SEGMENTS:
                self._compact()
            self._segments = self._map()
            return Update(live, new, gone, faults)

    def embed_share(self, batch_size: int = 64, num_workers: int = 2, progress: bool = True,
                    rank: int = 0, world_size: int = 1) -> int:
        """Embed a process's share of what has no feature yet, beside other processes.

        :meth:`update` is to be called once when all have done theirs.

        Args:
            batch_size: Images per forward.
            num_workers: Processes that read images.
            progress: Show a bar.
            rank: Number of this process, which takes every ``world_size``-th batch of the source.
            world_size: Number of processes.

        Returns:
            How many were embedded.

        Raises:
            ValueError: The index is damaged.
        """
        missing = self._missing(self._known()[1])
        own = missing[missing // batch_size % world_size == rank]
        return self._embed(own, batch_size, num_workers, progress)[0]

    def _known(self) -> tuple[list[np.ndarray], np.ndarray]:
        """Keys of each segment, and of all."""
        kept = [segment['key'] for segment in self._map()]
        return kept, np.unique(np.concatenate([np.zeros(0, np.uint64), *kept]))

    def _missing(self, known: np.ndarray) -> np.ndarray:
        return np.flatnonzero(~np.isin(self.keys, known))

    def scores(self, directions: np.ndarray) -> np.ndarray:
        """Products of all features, in the order of the source, with some vectors.

        They are the features that the last :meth:`update` found; without one, those there are.

        Args:
            directions: (Q, C); of unit length, their products are cosines.

        Returns:
            (N, Q) float32; NaN for images without a feature.
        """
        directions = np.ascontiguousarray(np.asarray(directions, np.float32).T)
        found = np.full((len(self.keys), directions.shape[1]), np.nan, np.float32)
        for rows, features in self._live():
            found[rows] = features @ directions
        return found

    def export(self, path: Path) -> np.ndarray:
        """Write the features that there are in the order of the source.

        Args:
            path: ``*.npy``, (n, C) float32; not written where there is none.

        Returns:
            Rows of the source, (n, ).
        """
        first = self._find(self.keys)[0]  # of rows of one name
        known = np.isin(self.keys, self._known()[1])
        place, table = np.cumsum(known) - 1, None
        for rows, features in self._live():
            if table is None:
                table = np.lib.format.open_memmap(
                    path, 'w+', np.float32, (int(known.sum()), features.shape[1]))
                reserve(path)
            table[place[rows]] = features
        again = np.flatnonzero(known & (first != np.arange(len(first))))
        if len(again):
            table[place[again]] = table[place[first[again]]]
        return np.flatnonzero(known)

    def _find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first row of each key, and whether it is one of the source."""
        place = np.searchsorted(self.keys, keys, sorter=self._order)
        rows = self._order[np.minimum(place, len(self.keys) - 1)]
        return rows, self.keys[rows] == keys

    def _live(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows of the source and their features (n, C), segment by segment."""
        for segment in self._map() if self._segments is None else self._segments:
            rows, same = self._find(segment['key'])
            if same.any():
                yield rows[same], np.ascontiguousarray(segment['feature'][same])

    def _map(self) -> list[np.ndarray]:
        """All segments; a file that is removed from now on can be read all the same."""
        while True:
            paths = sorted(self.folder.glob('*.npy'))
            with suppress(FileNotFoundError):  # compacted since it was listed: list again
                return [_map_segment(path) for path in paths]

    def _embed(self, rows: np.ndarray, batch_size: int, num_workers: int, progress: bool
               ) -> tuple[int, list[str]]:
        prepare = partial(resize_images, size=self.encoder.size)

        def computed() -> Iterator[tuple[list[int], Tensor, list[str]]]:
            for kept, images, wrong in readable_batches(
                    self.source, aligned_batches(rows, batch_size), prepare, num_workers,
                    pin_memory=torch.cuda.is_available()):
                yield kept, self.encoder.encode(images) if kept else images, wrong

        waiting: list[tuple[np.ndarray, np.ndarray]] = []
        count, faults = 0, []
        with torch.inference_mode(), tqdm(total=len(rows), unit='img', desc='embed',
                                          disable=not (progress and len(rows))) as bar:
            for kept, features, wrong in late(computed()):
                if kept:
                    waiting.append((self.keys[np.array(kept)], features.float().cpu().numpy()))
                    count += len(kept)
                if sum(len(keys) for keys, _ in waiting) >= SEGMENT_ROWS:
                    self._write(waiting)
                    waiting = []
                faults += wrong
                bar.update(len(kept) + len(wrong))
                bar.set_postfix(unreadable=len(faults), refresh=False)
        self._write(waiting)
        return count, faults

    def _write(self, pieces: list[tuple[np.ndarray, np.ndarray]]) -> None:
        if not pieces:
            return
        keys, features = (np.concatenate(column) for column in zip(*pieces, strict=True))
        segment = np.empty(len(keys), [('key', '<u8'), ('feature', '<f4', features.shape[1])])
        segment['key'], segment['feature'] = keys, features
        buffer = io.BytesIO()
        np.save(buffer, segment)
        name = f'{uuid.uuid4().hex}-{zlib.crc32(buffer.getbuffer()):08x}.npy'
        with replacing(self.folder / name) as partial:
            partial.write_bytes(buffer.getbuffer())

    def _compact(self) -> None:
        """Write live features into few segments, then delete the old ones."""
        self._segments = None
        old, waiting, written = sorted(self.folder.glob('*.npy')), [], np.zeros(0, np.int64)
        for rows, features in self._live():
            fresh = ~np.isin(rows, written)
            written = np.concatenate([written, rows[fresh]])
            waiting.append((self.keys[rows[fresh]], features[fresh]))
            if sum(len(keys) for keys, _ in waiting) >= SEGMENT_ROWS:
                self._write(waiting)
                waiting = []
        self._write(waiting)
        for path in old:
            with suppress(PermissionError):  # Windows, while somebody reads it: the next time
                path.unlink(missing_ok=True)


def share(spaces: Sequence[FeatureIndex], folder: str | os.PathLike, batch_size: int,
          num_workers: int, progress: bool, rank: int, world_size: int) -> Counter[str] | None:
    """Embed a process's share of indices, see :meth:`FeatureIndex.embed_share`.

    The processes meet in ``folder``; one alone has nothing to share.

    Returns:
        For the last process, how many all have embedded, by encoder; None for the others.
    """
    if world_size == 1:
        return Counter()
    key = digest([(space.encoder.name, space.keys) for space in spaces], batch_size, world_size)
    blocks = Blocks(Path(folder, f'.{key}.blocks'), world_size, rank, world_size)
    for block in blocks.own():
        new = {space.encoder.name: space.embed_share(
            batch_size, num_workers, progress, rank, world_size) for space in spaces}
        blocks.write(block, json.dumps(new).encode())
    with blocks.finishing() as paths:
        return paths and sum((Counter(read_json(path)) for path in paths), Counter())


def _map_segment(path: Path) -> np.ndarray:
    """Map a segment, whose name ends with its CRC-32; those that were written before have none."""
    stated = path.stem.partition('-')[2]
    try:
        if stated and checksum(path) != stated:
            raise ValueError('its bytes do not have the checksum in its name')
        segment = np.load(path, mmap_mode='r')
        if segment.dtype.names != ('key', 'feature') or segment.ndim != 1:
            raise ValueError(f'it holds {segment.dtype} of shape {segment.shape}')
    except FileNotFoundError:
        raise
    except Exception as error:  # NumPy evaluates the header: any error of Python's parser
        raise ValueError(f'{path} is damaged ({error}): delete it, and its images are embedded '
                         'again') from error
    return segment


def _file_keys(source: LUPerson) -> np.ndarray:
    """A number for each file's name, size and time of change, (N,) uint64."""
    lmdb, root = find_lmdb(source.data_root), os.fsencode(source.data_root)
    shared = None if lmdb is None else _stamp(os.fsencode(os.path.join(lmdb, 'data.mdb')))
    keys = np.empty(len(source), np.uint64)
    for row in range(len(source)):
        name = source.names.raw(row)
        stamp = shared or _stamp(os.path.join(root, name))
        keys[row] = int.from_bytes(hashlib.blake2b(name + stamp, digest_size=8).digest(), 'little')
    return keys


def _stamp(path: bytes) -> bytes:
    try:
        state = os.stat(path)
    except OSError:
        return b'\n'  # gone since the folder was read: the file is found to be unreadable
    return b'\n%d %d' % (state.st_size, state.st_mtime_ns)

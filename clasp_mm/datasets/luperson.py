"""Unlabelled person crops for pretraining: LUPerson, or any folder, list or LMDB of images."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import Compose
from mmengine.logging import MMLogger
from torch.utils.data import Dataset

from clasp_mm.registry import DATASETS
from clasp_mm.utils.files import printable

from .array_sampler import Visit
from .images import IMAGE_SUFFIXES, UnreadableImageError, decode_image, list_images, read_bytes
from .lmdb_file import LmdbError, LmdbFile
from .name_table import NameTable

_LARGE_SOURCE = 200_000


@DATASETS.register_module()
class LUPerson(Dataset):
    """Images without labels, read by name; an image that cannot be read never stops a run.

    Three sources: a folder, searched by
    :func:`~clasp_mm.datasets.images.list_images`; a list file (``ann_file``, one name per line,
    relative to ``data_root``), which starts in a second where a scan of millions takes minutes;
    an LMDB of encoded images, the keys being the names (``ann_file`` may narrow and order them).
    LUPerson's own LMDB, with ``lmdb/`` inside its folder, is found from either folder.

    A sample is ``dict(img=(H, W, 3) uint8 BGR, img_key=name, img_path, sample_idx, ori_shape,
    img_shape, skipped)`` before the pipeline. Where an image is missing, corrupt or refused by the
    pipeline (``None``), another takes its place, drawn from the index alone, so that neither the
    number of workers nor their order matters; ``skipped`` then holds the names passed over, one
    per line, and ``sample_idx`` is that of the image at hand.

    Args:
        data_root: Folder of the images, or of the LMDB.
        ann_file: List file, relative to ``data_root`` or absolute.
        pipeline: Transforms, as dicts or callables.
        num_images: Use only that many images, drawn once by ``seed`` (list order is kept).
        indices: Use the first ``indices`` images, or those numbered so, as MMEngine does.
        seed: Seed of the draw of ``num_images``.
        max_refetch: Images to try in place of one that cannot be read, before it is an error.
        metainfo: Added to the class's ``METAINFO``.

    Raises:
        FileNotFoundError: ``data_root`` or the list file is missing.
        ValueError: There is no image, a subset asks for more images than there are, or the LMDB
            is damaged (:class:`~clasp_mm.datasets.lmdb_file.LmdbError`).

    Example:
        >>> data = LUPerson('people')
        >>> len(data), data[1]['img_key'], data[1]['img'].shape
        (4, '1.jpg', (64, 32, 3))
    """

    METAINFO = {'dataset_type': 'unlabelled person crops'}

    def __init__(self, data_root: str, ann_file: str = '',
                 pipeline: Sequence[dict | Callable] = (), num_images: int | None = None,
                 indices: int | Sequence[int] | None = None, seed: int = 0,
                 max_refetch: int = 100, metainfo: dict | None = None) -> None:
        super().__init__()
        self.data_root = os.path.expanduser(data_root)
        if not os.path.isdir(self.data_root):
            raise FileNotFoundError(
                f'data_root={data_root!r} is no folder; give the folder of the images or of the '
                'LMDB (for a list file, data_root plus ann_file)')
        if max_refetch < 0:
            raise ValueError(f'max_refetch must not be negative, got {max_refetch}')
        self.max_refetch = max_refetch
        self._metainfo = {**self.METAINFO, **(metainfo or {})}
        lmdb_path = find_lmdb(self.data_root)
        self._lmdb = None if lmdb_path is None else LmdbFile(lmdb_path)
        self.source = (os.path.join(self.data_root, ann_file) if ann_file
                       else lmdb_path or self.data_root)
        self.names = self._subset(self._load_names(ann_file), num_images, indices, seed)
        self.pipeline = Compose(list(pipeline))

    def _load_names(self, ann_file: str) -> NameTable:
        if not ann_file:
            begin = time.perf_counter()
            names = (list_images(self.source) if self._lmdb is None
                     else NameTable.from_names(self._lmdb.keys()))
            if len(names) >= _LARGE_SOURCE:
                MMLogger.get_current_instance().info(
                    f'looking for images in {self.source} took {time.perf_counter() - begin:.0f} '
                    f's. To spare it, write their {len(names)} names once, '
                    'LUPerson(...).names.save(path), and give ann_file=path')
            advice = f'put images ending in {", ".join(IMAGE_SUFFIXES)} there'
        elif os.path.isfile(self.source):
            names = NameTable.from_file(self.source)
            advice = 'write one image name per line, relative to data_root'
        else:
            raise FileNotFoundError(
                f'there is no list file {self.source!r}; ann_file={ann_file!r} is looked for '
                f'below data_root={self.data_root!r} unless it is absolute')
        if len(names) == 0:
            raise ValueError(f'{self.source!r} names no image; {advice}')
        return names

    def _subset(self, names: NameTable, num_images: int | None,
                indices: int | Sequence[int] | None, seed: int) -> NameTable:
        if num_images is not None and indices is not None:
            raise ValueError('num_images draws a subset and indices names one: give one of them, '
                             f'got num_images={num_images} and indices={indices!r:.60}')
        total = len(names)
        for option, count in (('num_images', num_images), ('indices', indices)):
            if isinstance(count, int) and not 0 < count <= total:
                raise ValueError(f'{option}={count} of the {total} images of {self.source!r}')
        if num_images is not None:
            return names.take(np.sort(np.random.default_rng(seed).permutation(total)[:num_images]))
        if indices is None:
            return names
        chosen = np.arange(indices) if isinstance(indices, int) else np.asarray(indices, np.int64)
        if chosen.size == 0 or chosen.min() < -total or chosen.max() >= total:
            raise ValueError('indices must name at least one image and lie in '
                             f'[-{total}, {total}), got {indices!r:.60}')
        return names.take(chosen)

    @property
    def metainfo(self) -> dict[str, Any]:
        return dict(self._metainfo)

    def full_init(self) -> None:
        """Nothing is left to do; MMEngine's Runner calls this on every data set."""

    def __len__(self) -> int:
        return len(self.names)

    def get_data_info(self, index: int) -> dict[str, Any]:
        """The sample's name, path and number, without its image."""
        name = self.names[index]
        path = (os.path.join(self.data_root, name) if self._lmdb is None
                else f'{self._lmdb.folder}:{name}')
        return {'img_key': name, 'img_path': path, 'sample_idx': index % len(self)}

    def load(self, index: int) -> dict[str, Any]:
        """The sample before the pipeline.

        Raises:
            UnreadableImageError: The image is missing, corrupt or empty; names it.
        """
        sample = self.get_data_info(index)
        try:
            image = decode_image(self._read_bytes(self.names.raw(index)))
        except (UnreadableImageError, LmdbError) as error:
            raise UnreadableImageError(f'{printable(sample["img_key"])}: {error}') from error
        sample.update(img=image, ori_shape=image.shape[:2], img_shape=image.shape[:2], skipped='')
        return sample

    def _read_bytes(self, name: bytes) -> bytes:
        """The encoded image of that name."""
        if self._lmdb is None:
            return read_bytes(os.path.join(os.fsencode(self.data_root), name))
        data = self._lmdb.get(name)
        if data is None:
            raise UnreadableImageError('the LMDB has no such key')
        return data

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f'index {index} of a data set of {len(self)} images')
        if isinstance(index, Visit):
            index.seed_draws()
        skipped, reason = [], ''
        for candidate in self._candidates(index % len(self)):
            try:
                sample = self.load(candidate)
            except UnreadableImageError as error:
                reason = str(error)
            else:
                sample['skipped'] = '\n'.join(skipped)
                sample = self.pipeline(sample)
                if sample is not None:
                    return sample
                reason = f'{printable(self.names[candidate])}: the pipeline returned None for it'
            skipped.append(printable(self.names[candidate]))
        raise RuntimeError(
            f'{len(skipped)} images in a row could not be used; the last was {reason}. Check that '
            f'data_root={self.data_root!r} holds what {self.source!r} names and that it can be '
            'read; max_refetch sets how many are tried')

    def _candidates(self, index: int) -> Iterator[int]:
        """``index``, then others in an order that depends on it alone, none twice."""
        yield index
        tried, generator = {index}, np.random.default_rng(index)
        while len(tried) <= min(self.max_refetch, len(self) - 1):
            candidate = int(generator.integers(len(self)))
            if candidate not in tried:
                tried.add(candidate)
                yield candidate


def find_lmdb(folder: str) -> str | None:
    """The LMDB that a folder is or has in ``lmdb/``."""
    for path in (folder, os.path.join(folder, 'lmdb')):
        if os.path.isfile(os.path.join(path, 'data.mdb')):
            return path
    return None

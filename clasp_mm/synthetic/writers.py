"""Write synthetic people to disk as LUPerson is kept (list file, images or LMDB), and read back."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from clasp_mm.datasets.images import read_map
from clasp_mm.datasets.lmdb_file import LmdbFile
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY
from clasp_mm.utils.files import is_partial, locked, read_json, replacing, sweep, write_json
from clasp_mm.utils.processes import end_with_parent

from .people import PersonRecord, SyntheticPeople
from .words import PA100K_ATTRIBUTES

MARKER = 'synthetic_people.json'
_SHARD = 128  # images that are drawn, and after a kill redrawn, together
_QUALITY = 92
_LABELS = ('identity', 'camera', 'attributes', 'pa100k', 'keypoints', 'box_full', 'box_visible')


def write_people(out_dir: str | os.PathLike, people: SyntheticPeople, lmdb: bool = False,
                 with_ground_truth: bool = True, workers: int | None = None,
                 progress: bool = True) -> None:
    """Draw all of ``people`` into a folder.

    ::

        list.txt               one name per line, as LUPerson's list: images/0000/0000000.jpg
        images/0000/...jpg     the crops, or, with ``lmdb``:
        lmdb/                  name (utf-8) -> JPEG bytes
        labels.npz             ground truth, see :class:`GroundTruth`
        parsing/0000/...png    LIP's 20 classes, one 8-bit PNG per crop
        synthetic_people.json  what was asked for, and whether it is all there

    The files do not depend on the number of workers. What is already complete is left alone;
    after a kill the next call goes on with the first shard that is missing. Of two processes one
    draws, and the other waits for it.

    Args:
        out_dir: A new or empty folder, or one written by this function with the same arguments.
        people: What to draw.
        lmdb: Put the crops into an LMDB in place of files; needs ``pip install lmdb``.
        with_ground_truth: Write labels.npz and parsing/ too.
        workers: Processes; None takes one per usable core. More than one are spawned, so a
            script that calls this needs the usual ``if __name__ == '__main__'``.
        progress: Show a progress bar.

    Raises:
        ValueError: ``workers`` < 1, or the folder holds something else.
    """
    if workers is not None and workers < 1:
        raise ValueError(f'workers must be at least 1, got {workers}')
    out_dir = Path(out_dir)
    with locked(out_dir, f'another process draws {out_dir}: waiting for it'):
        _write_people(out_dir, people, lmdb, with_ground_truth, workers, progress)


def _write_people(out_dir: Path, people: SyntheticPeople, lmdb: bool, with_ground_truth: bool,
                  workers: int | None, progress: bool) -> None:
    settings = _settings(people, lmdb, with_ground_truth)
    marker, parts = out_dir / MARKER, out_dir / '.parts'
    if is_complete(marker, settings):
        shutil.rmtree(parts, ignore_errors=True)  # a kill may have left it
        return
    if not marker.exists() and out_dir.exists() and not all(map(is_partial, out_dir.iterdir())):
        raise ValueError(f'{out_dir} is not empty and not written by this function (it has no '
                         f'{MARKER}); give a new folder')
    write_marker(marker, settings, complete=False)
    parts.mkdir(exist_ok=True)
    sweep_all(out_dir)
    if not any(parts.iterdir()):  # nothing in it counts, and a kill may have left half a database
        shutil.rmtree(out_dir / 'lmdb', ignore_errors=True)
    for name in (['lmdb'] if lmdb else ['images']) + ['parsing'] * with_ground_truth:
        (out_dir / name).mkdir(exist_ok=True)

    shards = -(-len(people) // _SHARD)
    missing = [shard for shard in range(shards) if not _part(out_dir, shard).exists()]
    draw = partial(_draw_shard, str(out_dir), people, lmdb, with_ground_truth)
    with _database(out_dir, people, lmdb) as put, mapper(workers, len(missing)) as run:
        results = zip(missing, run(draw, missing), strict=True)
        if progress:
            results = track(results, f'drawing {len(people)} people', total=len(missing))
        for shard, (labels, images) in results:
            put(images)
            with replacing(_part(out_dir, shard)) as path, open(path, 'wb') as file:
                np.savez(file, **labels)

    names = [image_name(index) for index in range(len(people))]
    if with_ground_truth:
        _merge(out_dir, shards, names)
    with replacing(out_dir / 'list.txt') as path:
        path.write_text('\n'.join(names) + '\n', encoding='utf-8')
    write_marker(marker, settings, complete=True)
    shutil.rmtree(parts)


def image_name(index: int) -> str:
    """Name of image ``index`` below the data root, and its key in an LMDB."""
    return f'images/{index // 1000:04d}/{index:07d}.jpg'


@dataclass(frozen=True)
class GroundTruth:
    """The labels of a written folder; row i of each array belongs to image i of list.txt.

    Args:
        root: The folder.
        names: (N,) str, as in list.txt.
        identity: (N,) int32.
        camera: (N,) int16.
        attributes: (N, A) int8, index of the value of each attribute of the default vocabulary.
        pa100k: (N, 26) int8, 1 / 0 / -1 unknown.
        keypoints: (N, 17, 3) float32, x, y, v in pixels; v as in :class:`PersonRecord`.
        box_full: (N, 4) float32, x1, y1, x2, y2.
        box_visible: (N, 4) float32.
    """

    root: Path
    names: np.ndarray
    identity: np.ndarray
    camera: np.ndarray
    attributes: np.ndarray
    pa100k: np.ndarray
    keypoints: np.ndarray
    box_full: np.ndarray
    box_visible: np.ndarray

    def parsing(self, index: int) -> np.ndarray:
        """LIP's 20 classes of image ``index``, (H, W) uint8."""
        return read_map(self.root / _parsing_name(index))


def load_ground_truth(out_dir: str | os.PathLike) -> GroundTruth:
    """Read back what :func:`write_people` wrote.

    Raises:
        FileNotFoundError: The folder is not complete or was written without ground truth.
    """
    out_dir = Path(out_dir)
    marker = read_marker(out_dir / MARKER)
    if marker is None or not marker['complete']:
        raise FileNotFoundError(f'{out_dir} holds no complete synthetic people; write them with '
                                'write_people or clasp data draw')
    path = out_dir / 'labels.npz'
    if not path.exists():
        raise FileNotFoundError(f'{out_dir} was written without ground truth; write it again '
                                'to another folder, with it')
    with np.load(path) as file:
        return GroundTruth(root=out_dir, names=file['names'],
                           **{name: file[name] for name in _LABELS})


def _parsing_name(index: int) -> str:
    return f'parsing/{index // 1000:04d}/{index:07d}.png'


def _part(out_dir: Path, shard: int) -> Path:
    return out_dir / '.parts' / f'{shard:06d}.npz'


def _draw_shard(out_dir: str, people: SyntheticPeople, lmdb: bool, with_ground_truth: bool,
                shard: int) -> tuple[dict[str, np.ndarray], list[tuple[str, bytes]]]:
    """Draw one shard: files are written here, labels and LMDB entries are returned."""
    root, rows, images = Path(out_dir), [], []
    for index in range(shard * _SHARD, min((shard + 1) * _SHARD, len(people))):
        record = people[index]
        code = encode('.jpg', record.image[..., ::-1], cv2.IMWRITE_JPEG_QUALITY, _QUALITY)
        if lmdb:
            images.append((image_name(index), code))
        else:
            write_bytes(root / image_name(index), code)
        if with_ground_truth:
            rows.append(_label_row(record))
            write_bytes(root / _parsing_name(index),
                         encode('.png', record.parsing, cv2.IMWRITE_PNG_COMPRESSION, 4))
    return {name: np.stack([row[name] for row in rows]) for name in _LABELS if rows}, images


def _label_row(record: PersonRecord) -> dict[str, np.ndarray]:
    values = [attribute.values.index(record.attributes[attribute.name])
              for attribute in DEFAULT_VOCABULARY.attributes]
    return {
        'identity': np.int32(record.identity), 'camera': np.int16(record.camera),
        'attributes': np.array(values, np.int8), 'pa100k': record.pa100k,
        'keypoints': record.keypoints, 'box_full': np.array(record.box_full, np.float32),
        'box_visible': np.array(record.box_visible, np.float32)}


def _merge(out_dir: Path, shards: int, names: list[str]) -> None:
    parts = []
    for shard in range(shards):
        with np.load(_part(out_dir, shard)) as file:
            parts.append({name: file[name] for name in _LABELS})
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in _LABELS}
    with replacing(out_dir / 'labels.npz') as path, open(path, 'wb') as file:
        np.savez_compressed(
            file, names=np.array(names), pa100k_names=np.array(PA100K_ATTRIBUTES),
            attribute_names=np.array(DEFAULT_VOCABULARY.attribute_names), **arrays)


def encode(suffix: str, image: np.ndarray, *options: int) -> bytes:
    """A picture, BGR or grey, as the bytes of an image file."""
    done, code = cv2.imencode(suffix, np.ascontiguousarray(image), options)
    if not done:
        raise RuntimeError(f'OpenCV could not encode an image of shape {image.shape} as {suffix}')
    return code.tobytes()


def write_bytes(path: Path, data: bytes) -> None:
    """Write one of many small files, whole or not at all."""
    with replacing(path, sync=False) as temporary:
        temporary.write_bytes(data)


@contextmanager
def _database(out_dir: Path, people: SyntheticPeople,
              lmdb: bool) -> Iterator[Callable[[list[tuple[str, bytes]]], None]]:
    """A function that stores a shard's encoded images; it does nothing without an LMDB."""
    if not lmdb:
        yield lambda images: None
        return
    try:
        import lmdb as lmdb_package
    except ImportError as error:
        raise ImportError('writing an LMDB needs: pip install lmdb') from error
    height, width = people.size
    largest = len(people) * height * width * 3 + (1 << 26)  # the file only grows as it must
    if (out_dir / 'lmdb' / 'data.mdb').exists():
        LmdbFile(out_dir / 'lmdb')  # one that was cut off would end the process
    with lmdb_package.open(str(out_dir / 'lmdb'), map_size=largest) as environment:
        def put(images: list[tuple[str, bytes]]) -> None:
            with environment.begin(write=True) as transaction:
                for name, code in images:
                    transaction.put(name.encode(), code)
        yield put


def sweep_all(folder: Path) -> None:
    """:func:`~clasp_mm.utils.files.sweep` of a folder and all below it."""
    for inside, _, _ in os.walk(folder):
        sweep(inside)


@contextmanager
def mapper(workers: int | None, tasks: int) -> Iterator[Callable]:
    """``map`` over this process or several, in order."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    workers = min(workers or usable or 1, tasks)
    if workers <= 1:
        yield map
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context('spawn'),
                               initializer=_begin_worker)
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    end_with_parent()
    cv2.setNumThreads(1)


def _settings(people: SyntheticPeople, lmdb: bool, with_ground_truth: bool) -> dict:
    return {
        'num_identities': people.num_identities, 'images_per_identity': people.images_per_identity,
        'seed': people.seed, 'size': list(people.size), 'num_cameras': people.num_cameras,
        'lmdb': lmdb, 'with_ground_truth': with_ground_truth, 'generator': drawing_code()}


def drawing_code() -> str:
    """Twelve digits that change with the code that draws people and scenes."""
    source = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob('*.py')):
        if path.stem not in ('__init__', 'captions', 'contact_sheet', 'writers'):
            source.update(path.read_bytes())
    return source.hexdigest()[:12]


def read_marker(path: Path) -> dict | None:
    """What :func:`write_marker` wrote, None where there is no such file."""
    return read_json(path) if path.exists() else None


def write_marker(path: Path, settings: dict, complete: bool) -> None:
    """Note what was asked for, and whether all of it is there."""
    write_json(path, {'settings': settings, 'complete': complete}, indent=2)


def is_complete(path: Path, settings: dict) -> bool:
    """Whether the marker says that all is there.

    Raises:
        ValueError: It was written with other settings.
    """
    marker = read_marker(path)
    if marker is None:
        return False
    other = marker['settings']
    differ = [f'{name} is {other.get(name)!r} there, {value!r} here'
              for name, value in settings.items() if other.get(name) != value]
    if differ:
        raise ValueError(f'{path.parent} holds other synthetic people: {"; ".join(differ)}; give '
                         'another folder or delete that one')
    return marker['complete']

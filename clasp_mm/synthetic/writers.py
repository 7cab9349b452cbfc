"""Write synthetic people to disk as LUPerson is kept (list file, images or LMDB), and read back."""

import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from clasp_mm.datasets.images import NO_MEDIA, read_map
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY
from clasp_mm.utils.files import is_partial, read_json, replacing, write_text

from .people import SyntheticPeople
from .shards import draw_in_shards, drawing_code, parts_of, write_picture
from .words import PA100K_ATTRIBUTES

MARKER = 'synthetic_people.json'
_SHARD = 128  # images that are drawn, and after a kill redrawn, together
_LABELS = dict(identity=np.int32, camera=np.int16, attributes=np.int8, pa100k=np.int8,
               keypoints=np.float32, box_full=np.float32, box_visible=np.float32)


def write_people(out_dir: str | os.PathLike, people: SyntheticPeople, lmdb: bool = False,
                 with_ground_truth: bool = True, workers: int | None = None,
                 progress: bool = True) -> None:
    """Draw all of ``people`` into a folder.

    ::

        list.txt               one name per line, as LUPerson's list: images/0000/0000000.jpg
        images/0000/...jpg     the crops, or, with ``lmdb``:
        lmdb/                  name (utf-8) -> JPEG bytes
        labels.npz             ground truth, see :class:`GroundTruth`
        parsing/0000/...png    LIP's 20 classes, one 8-bit PNG per crop; no images to any command
        synthetic_people.json  what was asked for, and whether it is all there

    See :func:`~.shards.draw_in_shards` for what happens after a kill and side by side.

    Args:
        out_dir: A new or empty folder, or one written by this function with the same arguments.
        people: What to draw.
        lmdb: Put the crops into an LMDB in place of files.
        with_ground_truth: Write labels.npz and parsing/ too.
        workers: Processes; None takes one per usable core. More than one are spawned, so a
            script that calls this needs the usual ``if __name__ == '__main__'``.
        progress: Show a progress bar.

    Raises:
        ValueError: ``workers`` < 1, or the folder holds something else.
    """
    out_dir = Path(out_dir)
    marker = out_dir / MARKER
    settings = {
        'num_identities': people.num_identities, 'images_per_identity': people.images_per_identity,
        'seed': people.seed, 'size': list(people.size), 'num_cameras': people.num_cameras,
        'lmdb': lmdb, 'with_ground_truth': with_ground_truth, 'generator': drawing_code()}
    owned = [path.name for path in out_dir.glob('*') if not is_partial(path)]
    images = parts_of(marker) if lmdb else out_dir
    draw_in_shards(
        marker, settings, len(people), _SHARD,
        partial(_draw, images, out_dir if with_ground_truth else None, people),
        partial(_finish, out_dir, images, with_ground_truth), owned, workers, progress)


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
    marker = out_dir / MARKER
    if not marker.exists() or not read_json(marker)['complete']:
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


def _draw(images: Path, maps: Path | None, people: SyntheticPeople, index: int) -> dict:
    """Write image ``index`` and, if there is a folder for it, its part map; the labels."""
    record = people[index]
    write_picture(images / image_name(index), record.image)
    if maps is None:
        return {}
    write_picture(maps / _parsing_name(index), record.parsing, cv2.IMWRITE_PNG_COMPRESSION, 4)
    labels = {name: np.asarray(getattr(record, name)).tolist() for name in _LABELS
              if name != 'attributes'}
    return dict(labels, attributes=[
        attribute.values.index(record.attributes[attribute.name])
        for attribute in DEFAULT_VOCABULARY.attributes])


def _finish(out_dir: Path, images: Path, with_ground_truth: bool, rows: list[dict]) -> None:
    names = [image_name(index) for index in range(len(rows))]
    if images != out_dir:
        _pack(out_dir / 'lmdb', images, names)
    if with_ground_truth:
        write_text(out_dir / 'parsing' / NO_MEDIA, '')
        labels = {name: np.array([row[name] for row in rows], dtype)
                  for name, dtype in _LABELS.items()}
        with replacing(out_dir / 'labels.npz') as path, open(path, 'wb') as file:
            np.savez_compressed(
                file, names=np.array(names), pa100k_names=np.array(PA100K_ATTRIBUTES),
                attribute_names=np.array(DEFAULT_VOCABULARY.attribute_names), **labels)
    write_text(out_dir / 'list.txt', '\n'.join(names) + '\n')


def _pack(folder: Path, images: Path, names: list[str]) -> None:
    """Make an LMDB of image files, anew: a kill may have left half of one."""
    import lmdb
    shutil.rmtree(folder, ignore_errors=True)
    size = sum((images / name).stat().st_size + 8192 for name in names)  # no page is shared
    with lmdb.open(str(folder), map_size=size + (1 << 26)) as environment:
        for start in range(0, len(names), _SHARD):
            with environment.begin(write=True) as transaction:
                for name in names[start:start + _SHARD]:
                    transaction.put(name.encode(), (images / name).read_bytes())

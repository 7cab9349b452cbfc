"""The annotations of CUHK-SYSU and PRW as they are on the disk."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clasp_mm.utils.files import read_text

from .mat_file import load_mat

UNLABELLED = 5555  # identity of whoever has none, as in the data sets' own code
GALLERY_SIZES = (50, 100, 500, 1000, 2000, 4000)


class Frame(NamedTuple):
    """One whole picture.

    Attributes:
        name: Name of its file.
        boxes: (N, 4) everybody, as x1, y1, x2, y2 in pixels.
        pids: (N, ) identities from 0, or ``UNLABELLED``.
    """

    name: str
    boxes: np.ndarray
    pids: np.ndarray


class Query(NamedTuple):
    """A person to search for.

    Attributes:
        frame: Name of the picture.
        box: (4, ) x1, y1, x2, y2.
        pid: Identity.
        gallery: Names of the frames to search; None for all but ``frame``.
    """

    frame: str
    box: np.ndarray
    pid: int
    gallery: tuple[str, ...] | None


def read_cuhk_sysu(root: Path, split: str, gallery_size: int = 100
                   ) -> tuple[list[Frame], list[Query]]:
    """One split of CUHK-SYSU from ``annotation/*.mat``; identities are numbered as listed there.

    Boxes that the lists of people have and ``Images.mat`` has not are added.

    Args:
        root: It holds ``annotation/`` and ``Image/SSM/``.
        split: ``'train'`` or ``'test'``, the frames of ``pool.mat``.
        gallery_size: Which protocol, of ``GALLERY_SIZES``.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file cannot be read, or names a frame that ``Images.mat`` has not.
    """
    folder = root / 'annotation'
    pool = {str(name) for name in _entries(folder / 'pool.mat', 'pool')}
    boxes: dict[str, list[np.ndarray]] = {}
    for record in _entries(folder / 'Images.mat', 'Img'):
        name, _, people = _fields(record)[:3]
        if (str(name) in pool) == (split == 'test'):
            boxes[str(name)] = [_corners(_fields(one)[0]) for one in np.atleast_1d(people)]
    pids = {name: [UNLABELLED] * len(people) for name, people in boxes.items()}

    def put(name: Any, box: np.ndarray, pid: int, source: Path) -> None:
        if str(name) not in boxes:
            raise ValueError(f'{source}: person {pid} is in {name}, which is no {split} frame of '
                             'Images.mat and pool.mat')
        people = boxes[str(name)]
        same = [row for row, other in enumerate(people) if np.array_equal(other, box)]
        if not same:
            same = [len(people)]
            people.append(box)
            pids[str(name)].append(UNLABELLED)
        pids[str(name)][same[0]] = pid

    queries = []
    if split == 'train':
        source = folder / 'test/train_test/Train.mat'
        for pid, record in enumerate(_entries(source, 'Train')):
            for scene in np.atleast_1d(_fields(record)[2]):
                name, box = _fields(scene)[:2]
                put(name, _corners(box), pid, source)
    else:
        if gallery_size not in GALLERY_SIZES:
            raise ValueError(f'gallery_size must be one of {GALLERY_SIZES}, got {gallery_size}')
        source = folder / f'test/train_test/TestG{gallery_size}.mat'
        for pid, record in enumerate(_entries(source, source.stem)):
            name, box = _fields(record['Query'])[:2]
            put(name, _corners(box), pid, source)
            gallery = [_fields(one)[:2] for one in np.atleast_1d(record['Gallery'])]
            for frame, place in gallery:
                if np.size(place):
                    put(frame, _corners(place), pid, source)
            queries.append(Query(str(name), _corners(box), pid,
                                 tuple(str(frame) for frame, _ in gallery)))
    return [Frame(name, np.array(people).reshape(-1, 4), np.array(pids[name], np.int64))
            for name, people in boxes.items()], queries


def read_prw(root: Path, split: str) -> tuple[list[Frame], list[Query]]:
    """One split of PRW; the identities of train are numbered from 0 in the order of their names.

    Coordinates are whole and from 0 on, as SeqNet reads them: of a query, x1, y1, x2, y2 are
    clipped; of a frame's person, x, y, width, height, so that x2 = width where x is negative.

    Args:
        root: It holds ``frames/``, ``annotations/``, ``frame_train.mat``, ``frame_test.mat`` and
            ``query_info.txt``.
        split: ``'train'`` or ``'test'``.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file cannot be read.
    """
    frames = []
    for stem in _entries(root / f'frame_{split}.mat', f'img_index_{split}'):
        name = f'{_text(stem)}.jpg'
        people = _prw_people(root / 'annotations' / f'{name}.mat')
        # Clipped before the width is added, as the score's true boxes in SeqNet; queries are not.
        x1y1, sides = np.split(people[:, 1:].clip(min=0), 2, axis=1)
        frames.append(Frame(name, np.floor(np.concatenate([x1y1, x1y1 + sides], axis=1)),
                            np.where(people[:, 0] == -2, UNLABELLED, people[:, 0]).astype(int)))
    if split == 'train':
        known = sorted({pid for frame in frames for pid in frame.pids.tolist()} - {UNLABELLED})
        number = {UNLABELLED: UNLABELLED, **{pid: at for at, pid in enumerate(known)}}
        return [frame._replace(pids=np.array([number[pid] for pid in frame.pids.tolist()], int))
                for frame in frames], []
    return frames, _prw_queries(root / 'query_info.txt')


def _prw_people(file: Path) -> np.ndarray:
    """(N, 5) identity, x, y, width, height."""
    content = _load(file)
    for key in ('box_new', 'anno_file', 'anno_previous'):
        if key in content:
            return np.asarray(content[key], np.float64).reshape(-1, 5)
    raise ValueError(f'{file} has no box_new, anno_file or anno_previous')


def _prw_queries(file: Path) -> list[Query]:
    queries = []
    for number, line in enumerate(read_text(file).splitlines(), 1):
        try:
            pid, x, y, width, height, frame = line.split()
            box = np.floor(_corners([float(one) for one in (x, y, width, height)]).clip(min=0))
            queries.append(Query(f'{frame}.jpg', box, int(pid), None))
        except ValueError as error:
            raise ValueError(f'{file}, line {number}: {line!r} is not identity, x, y, width, '
                             'height and frame') from error
    return queries


def _corners(box: Any) -> np.ndarray:
    x, y, width, height = np.asarray(box, np.float64).reshape(4)
    return np.array([x, y, x + width, y + height])


def _text(value: Any) -> str:
    while isinstance(value, np.ndarray):
        value = value.item()
    return str(value)


def _fields(record: Any) -> tuple:
    """The values of a MATLAB struct, in its order."""
    return tuple(record.item() if isinstance(record, np.ndarray) else record)


def _entries(file: Path, name: str) -> np.ndarray:
    content = _load(file)
    if name not in content:
        raise ValueError(f'{file} has no variable {name}')
    return np.atleast_1d(content[name])


def _load(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(f'no {file}; docs/data/person_search.md shows the layouts')
    return load_mat(file, squeeze_me=True)

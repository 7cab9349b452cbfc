"""A few hundred images and what is known of them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clasp_mm.datasets import images as image_files
from clasp_mm.datasets.labelled_folder import LabelledFolder
from clasp_mm.datasets.reid import NO_CAMERA, NOBODY, Market1501, camera_number
from clasp_mm.datasets.table import read_table

LABEL_KINDS = ('identity', 'attributes', 'classes', 'maps')
IGNORE = 255
_VALUES = {'1': 1, '0': 0, '-1': -1, '': -1}


@dataclass(frozen=True)
class Labels:
    """Images and their labels.

    Attributes:
        kind: One of ``LABEL_KINDS``.
        paths: Files of the N images.
        values: (N,) numbers of classes, or of identities, ``NOBODY`` where there is none; (N, A)
            int8 attributes, 1, 0 and -1 for unknown; (N,) files of label maps, as text.
        groups: (N,) numbers; images of one group, such as a person's, are not independent.
        cameras: (N,) numbers, ``NO_CAMERA`` where not known; None where no camera is known.
        names: Names of classes or attributes.
    """

    kind: str
    paths: tuple[str, ...]
    values: np.ndarray
    groups: np.ndarray
    cameras: np.ndarray | None = None
    names: tuple[str, ...] = ()

    def gaps(self) -> list[str]:
        """How many identities and cameras are not known, in words; empty where all are."""
        found = []
        if self.kind == 'identity' and (nobody := int((self.values == NOBODY).sum())):
            found.append(f'{nobody} of {len(self.paths)} images have no identity: they match '
                         'nobody')
        if self.cameras is not None and (unknown := int((self.cameras == NO_CAMERA).sum())):
            found.append(f'the camera of {unknown} of {len(self.paths)} images is not known: it '
                         'equals no other')
        return found

    def take(self, rows: np.ndarray) -> Labels:
        """Those rows only."""
        return replace(self, paths=tuple(self.paths[row] for row in rows),
                       values=self.values[rows], groups=self.groups[rows],
                       cameras=None if self.cameras is None else self.cameras[rows])


def read_labels(kind: str, images: str | os.PathLike, table: str | os.PathLike | None = None,
                maps: str | os.PathLike | None = None) -> Labels:
    """Read labels of any of four kinds.

    ``identity``: a table with the columns image, identity and, if known, camera; or a folder of
    images named as Market-1501's; or a sub-folder for every person. ``attributes``: a table with a
    column image and one of 1, 0 or nothing (unknown) for every attribute. ``classes``: a table
    with image and class, or a sub-folder for every class. ``maps``: in ``maps``, a PNG of class
    numbers (255: ignore) for every image, of its name and size. A column ``identity`` of the
    second and third kind keeps images of one person together. Spaces around cells do not count;
    an empty cell is an identity or a camera that is not known.

    Args:
        kind: One of the four.
        images: Folder of the images, to which a table's names are relative.
        table: CSV file.
        maps: Folder of label maps.

    Raises:
        FileNotFoundError: A folder or file is missing.
        ValueError: A label cannot be read; the message names file and line.
    """
    if kind not in LABEL_KINDS:
        raise ValueError(f'unknown kind of labels {kind!r}: {", ".join(LABEL_KINDS)}')
    root = Path(images).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f'no folder of images {root}')
    if (kind == 'maps') != (maps is not None):
        raise ValueError('labels of kind maps, and no others, need the folder of the label maps')
    if kind == 'maps':
        return _read_maps(root, Path(maps).expanduser())
    if table is not None:
        return _read_table(kind, root, Path(table).expanduser())
    if kind == 'attributes':
        raise ValueError('attributes need a table: a CSV file with a column image and one for '
                         'every attribute')
    if kind == 'identity' and (found := _market(root)):
        return found
    folder = LabelledFolder.read(root)
    groups = folder.labels if kind == 'identity' else np.arange(len(folder.labels))
    return Labels(kind, tuple(folder.paths), folder.labels, groups, names=tuple(folder.classes))


def read_map(path: str, size: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """Classes at the middles of the cells of a grid over a label map, (h, w) int64.

    Args:
        path: PNG of class numbers, gray or with a palette.
        size: (H, W) that it must have.
        grid: (h, w).

    Raises:
        ValueError: It cannot be read, is no map of class numbers, or has another size.
    """
    label = image_files.read_map(path)
    if label.min() < 0 or label.max() > IGNORE:
        raise ValueError(f'label map {path} must have class numbers from 0 to {IGNORE - 1}, and '
                         f'{IGNORE} to ignore; it has {label.min()} to {label.max()}')
    if label.shape != tuple(size):
        raise ValueError(f'label map {path} is {label.shape}, its image {tuple(size)}')
    rows, columns = ((np.arange(cells) + .5) * side / cells for cells, side in
                     zip(grid, label.shape, strict=True))
    return label[np.ix_(rows.astype(int), columns.astype(int))].astype(np.int64)


def _read_maps(root: Path, folder: Path) -> Labels:
    if not folder.is_dir():
        raise FileNotFoundError(f'no folder of label maps {folder}')
    names = list(image_files.list_images(root))
    maps = [folder / Path(name).with_suffix('.png') for name in names]
    there = [i for i, path in enumerate(maps) if path.is_file()]
    if not there:
        raise FileNotFoundError(f'{folder} has a label map of none of the {len(names)} images of '
                                f'{root}; looked for {maps[0] if maps else "IMAGE.png"}')
    return Labels('maps', tuple(str(root / names[i]) for i in there),
                  np.array([str(maps[i]) for i in there]), np.arange(len(there)))


def _market(root: Path) -> Labels | None:
    """Images named as Market-1501's, if all are."""
    names = list(image_files.list_images(root))
    found = [Market1501.NAME.match(Path(name).name) for name in names]
    if not found or not all(found):
        return None
    kept = [(name, match) for name, match in zip(names, found, strict=True) if match[1] != '-1']
    people = np.array([NOBODY if match[1] == Market1501.DISTRACTOR else int(match[1])
                       for _, match in kept])
    return Labels('identity', tuple(str(root / name) for name, _ in kept), people, _groups(people),
                  np.array([int(match[2]) for _, match in kept]))


def _read_table(kind: str, root: Path, path: Path) -> Labels:
    needed = {'identity': ('image', 'identity'), 'classes': ('image', 'class'),
              'attributes': ('image', )}[kind]
    columns, rows = read_table(path, needed)
    if not rows:
        raise ValueError(f'{path} has no row')
    seen: dict[str, int] = {}
    for line, row in rows:
        if (first := seen.setdefault(row['image'], line)) != line:
            raise ValueError(f'{path}:{line}: {row["image"]} stands in line {first} already')
    paths = tuple(str(root / row['image']) for _, row in rows)
    names = [row.get('identity', '') for _, row in rows]
    number = {name: i for i, name in enumerate(sorted(set(names) - {''}))}
    people = np.array([number.get(name, NOBODY) for name in names])
    groups = _groups(people)
    if kind == 'identity':
        cameras = np.array([camera_number(row.get('camera', ''), path, line)
                            for line, row in rows])
        return Labels(kind, paths, people, groups,
                      None if (cameras == NO_CAMERA).all() else cameras)
    if kind == 'classes':
        if empty := [line for line, row in rows if not row['class']]:
            raise ValueError(f'{path}:{empty[0]}: the class is empty; leave out images without one')
        classes, values = np.unique([row['class'] for _, row in rows], return_inverse=True)
        return Labels(kind, paths, values, groups, names=tuple(classes.tolist()))
    names = tuple(name for name in columns if name not in ('image', 'identity', 'camera'))
    if not names:
        raise ValueError(f'{path} has no column of an attribute')
    values = np.array([[_attribute(path, line, name, row[name]) for name in names]
                       for line, row in rows], np.int8)
    return Labels(kind, paths, values, groups, names=names)


def _groups(people: np.ndarray) -> np.ndarray:
    """A number for each person, and one for each image of nobody."""
    nobody = people == NOBODY
    groups = people.copy()
    groups[nobody] = people.max() + 1 + np.arange(nobody.sum())
    return groups


def _attribute(path: Path, line: int, name: str, text: str) -> int:
    value = _VALUES.get(text)
    if value is None:
        raise ValueError(f'{path}:{line}: {name} is {text!r}; it must be 1, 0, or empty if unknown')
    return value

"""Files that list images with their attributes: PA-100K's own, and RethinkPAR's."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .attribute_pickle import load_plain_pickle
from .mat_file import load_mat

OFFICIAL_SPLITS = ('train', 'val', 'test')
UNSURE = 2  # RAP: cannot be told; RethinkPAR counts it as absent


@dataclass(frozen=True)
class AttributeTable:
    """Images, their attributes and their splits.

    Attributes:
        names: File names of the N images.
        attributes: Names of the A attributes.
        labels: (N, A) int8: 1 there, 0 not, -1 unknown.
        splits: Name of a split -> rows of its images.
        num_unsure: How many entries said 2 in the file and are 0 here.
    """

    names: tuple[str, ...]
    attributes: tuple[str, ...]
    labels: np.ndarray
    splits: dict[str, np.ndarray]
    num_unsure: int = 0

    def rows(self, split: str) -> np.ndarray:
        """Rows of a split; ``trainval`` is train and val where the file does not name it.

        Raises:
            ValueError: There is no such split, or no image in it.
        """
        if split == 'trainval' and split not in self.splits and {'train', 'val'} <= set(
                self.splits):
            return np.concatenate([self.splits['train'], self.splits['val']])
        if not len(self.splits.get(split, ())):
            raise ValueError(f'there is no image of a split {split!r}; there are '
                             + (', '.join(name for name, rows in self.splits.items() if len(rows))
                                or 'none'))
        return self.splits[split]


def read_attribute_file(path: str | os.PathLike) -> AttributeTable:
    """Read PA-100K's ``annotation.mat`` or RethinkPAR's ``dataset_*.pkl``.

    Of a pickle that has ``label_idx``, the attributes to evaluate are kept, in its order; of one
    that lists several random partitions, the first, both as RethinkPAR does. Nothing in a pickle
    is run, see :func:`~.attribute_pickle.load_plain_pickle`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is another file, or its parts do not fit each other.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'no attribute file {path}: see docs/data/attribute.md for the layouts; '
            'clasp data check attribute DIR tells what else is missing')
    if path.suffix not in ('.mat', '.pkl'):
        raise ValueError(f'{path}: an attribute file is a .mat of PA-100K or a .pkl of RethinkPAR')
    load, parse = ((load_mat, _pa100k) if path.suffix == '.mat' else
                   (load_plain_pickle, _rethinkpar))
    content = load(path)
    try:
        return _checked(*parse(content))
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def _pa100k(content: Mapping[str, Any]) -> tuple:
    if 'attributes' not in content:
        raise ValueError(f'no annotation of PA-100K: it holds {_keys(content)}, not attributes')
    names, labels, splits, start = [], [], {}, 0
    for split in OFFICIAL_SPLITS:
        if f'{split}_label' not in content or f'{split}_images_name' not in content:
            continue
        own, rows = _texts(content[f'{split}_images_name']), content[f'{split}_label']
        if len(own) != len(rows):
            raise ValueError(f'{split}_images_name has {len(own)} images, {split}_label '
                             f'{len(rows)} rows')
        names += own
        labels.append(rows)
        splits[split] = np.arange(start, start + len(own))
        start += len(own)
    if not labels:
        raise ValueError(f'no split: it holds {_keys(content)}')
    if len({rows.shape[1:] for rows in labels}) > 1:
        raise ValueError('the splits have different numbers of attributes: '
                         f'{[rows.shape for rows in labels]}')
    return names, _texts(content['attributes']), np.concatenate(labels), splits


def _rethinkpar(content: Any) -> tuple:
    needed = ('image_name', 'attr_name', 'label', 'partition')
    if not isinstance(content, Mapping) or not all(name in content for name in needed):
        held = _keys(content) if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(f'no pickle of RethinkPAR: it needs {", ".join(needed)} and holds {held}')
    attributes, labels = list(content['attr_name']), np.asarray(content['label'])
    if not isinstance(content['partition'], Mapping):
        raise ValueError(f'partition must name the splits, got {content["partition"]!r:.60}')
    if 'label_idx' in content and labels.ndim == 2:
        if 'eval' not in content['label_idx']:
            raise ValueError(f'label_idx has no eval, got {content["label_idx"]!r:.60}')
        chosen = _indices(content['label_idx']['eval'], min(labels.shape[1], len(attributes)),
                          'attribute indices of label_idx.eval')
        attributes, labels = [attributes[index] for index in chosen], labels[:, chosen]
    names = list(content['image_name'])
    splits = {}
    for split, rows in content['partition'].items():
        if isinstance(rows, list) and rows and np.ndim(rows[0]) == 1:
            rows = rows[0]
        splits[split] = _indices(rows, len(names), f'image indices of split {split!r}')
    return names, attributes, labels, splits


def _checked(names: Sequence[str], attributes: Sequence[str], labels: np.ndarray,
             splits: dict[str, np.ndarray]) -> AttributeTable:
    if not all(isinstance(name, str) for name in (*names, *attributes)):
        raise ValueError('names of images or attributes that are no text')
    if labels.shape != (len(names), len(attributes)) or not labels.size:
        raise ValueError(f'labels of shape {labels.shape} for {len(names)} images and '
                         f'{len(attributes)} attributes')
    twice = {name for name in attributes if attributes.count(name) > 1}
    if twice:
        raise ValueError(f'attributes named twice: {sorted(twice)}')
    strange = np.setdiff1d(labels, (-1, 0, 1, UNSURE))
    if strange.size:
        raise ValueError(f'labels must be 1, 0, -1 (unknown) or {UNSURE} (cannot be told), got '
                         f'{strange[:5].tolist()}')
    unsure = labels == UNSURE
    return AttributeTable(tuple(names), tuple(attributes),
                          np.where(unsure, 0, labels).astype(np.int8), splits, int(unsure.sum()))


def _indices(values: Any, count: int, what: str) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1 or (values.size and values.dtype.kind not in 'iu'):
        raise ValueError(f'{what} must be a list of whole numbers, got {values.dtype} of shape '
                         f'{values.shape}')
    values = values.astype(np.int64)
    outside = values[(values < 0) | (values >= count)]
    if outside.size:
        raise ValueError(f'{outside.size} {what} lie outside 0 to {count - 1}, such as '
                         f'{outside[0]}: file and labels are of different versions')
    return values


def _texts(cells: np.ndarray) -> list[str]:
    """Strings of a MATLAB cell array."""
    return [str(np.asarray(cell).reshape(-1)[0]) if np.size(cell) else ''
            for cell in np.asarray(cells).reshape(-1)]


def _keys(content: Mapping) -> str:
    return ', '.join(str(key) for key in content if not str(key).startswith('__')) or 'nothing'

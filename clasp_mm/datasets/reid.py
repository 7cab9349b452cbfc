"""People with identities and cameras: Market-1501, MSMT17, and anybody's folders or table."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from clasp_mm.registry import DATASETS
from clasp_mm.utils.files import read_text

from .array_sampler import Visit
from .images import list_images
from .table import read_table

SPLITS = ('train', 'query', 'gallery', 'test')
NO_CAMERA = -1
NOBODY = -1  # pid of who has no identity: nobody's match


class ReIDSample(NamedTuple):
    """One image of a person.

    Attributes:
        path: File, relative to the data root.
        person: Name of the identity; None where there is none.
        camera: Number from 0; ``NO_CAMERA`` where it is not known.
    """

    path: str
    person: str | int | None
    camera: int


class ReIDDataset(BaseDataset):
    """Base of the data sets of re-identification; a subclass says which images a part has.

    A sample has ``img_path``, ``pid`` (identity, equal in query and gallery of one person),
    ``camera`` (see :class:`ReIDSample`), ``is_query`` and, to train on, ``gt_label``: identities
    numbered from 0 in the order of their names. A pipeline packs them as meta keys. An image
    without identity is left out of train and query, and stays in the gallery under the pid
    ``NOBODY``, a distractor.

    Args:
        data_root: Folder of the data set.
        split: ``'train'``, ``'query'``, ``'gallery'``, or ``'test'``: queries, then gallery.
        **kwargs: Arguments of MMEngine's BaseDataset.

    Raises:
        FileNotFoundError: Something of the layout is missing.
        ValueError: An unknown split, a name that does not parse, or no image.
    """

    METAINFO = {'dataset_name': 're-identification'}

    def __init__(self, data_root: str, split: str = 'train', **kwargs: Any) -> None:
        if split not in SPLITS:
            raise ValueError(f'split must be one of {SPLITS}, got {split!r}')
        self.split = split
        super().__init__(data_root=os.path.expanduser(data_root), test_mode=split != 'train',
                         **kwargs)

    def read(self, part: str) -> list[ReIDSample]:
        """The images of ``'train'``, ``'query'`` or ``'gallery'``."""
        raise NotImplementedError

    def load_data_list(self) -> list[dict]:
        if not Path(self.data_root).is_dir():
            raise FileNotFoundError(f'data_root={self.data_root!r} is no folder; '
                                    'docs/data/reid.md shows the layouts')
        parts = ('query', 'gallery') if self.split == 'test' else (self.split, )
        shots = {part: self._read_known(part) for part in parts}
        numbers = {name: number for number, name in enumerate(sorted(set().union(
            *(_people(found) for found in shots.values()))))}
        self._metainfo['num_identities'] = len(numbers)
        if self.split == 'test':
            self._metainfo['shared_with_train'] = len(self._train_identities() & set(numbers))
        return [
            dict(img_path=os.path.join(self.data_root, shot.path),
                 pid=numbers.get(shot.person, NOBODY), camera=shot.camera,
                 is_query=part == 'query',
                 **(dict(gt_label=numbers[shot.person]) if part == 'train' else {}))
            for part, found in shots.items() for shot in found]

    def _read_known(self, part: str) -> list[ReIDSample]:
        """A part without the images that have no identity where they can only be left out."""
        shots = self.read(part)
        nobody = sum(shot.person is None for shot in shots)
        if part != 'gallery':
            shots = [shot for shot in shots if shot.person is not None]
        if not shots:
            raise ValueError(f'{self.data_root}: the {part} part holds no image'
                             + (f' with an identity, {nobody} without' if nobody else ''))
        cameras = {shot.camera for shot in shots} - {NO_CAMERA}
        unknown = sum(shot.camera == NO_CAMERA for shot in shots)
        fate = 'of nobody, who match no query' if part == 'gallery' else (
            'without identity are left out')
        print_log(f'{type(self).__name__} {part}: {len(shots)} images, {len(_people(shots))} '
                  f'identities, {len(cameras) or "no"} cameras'
                  + (f', {unknown} of unknown camera' if cameras and unknown else '')
                  + (f'; {nobody} {fate}' if nobody else ''), logger='current')
        return shots

    def _train_identities(self) -> set[str | int]:
        """Identities to train on, where that part is there too."""
        try:
            return _people(self.read('train'))
        except FileNotFoundError:
            return set()

    def __getitem__(self, index: int) -> dict:
        if isinstance(index, Visit):
            index.seed_draws()
        return super().__getitem__(index)

    def prepare_data(self, idx: int) -> Any:
        """One sample after the pipeline.

        Raises:
            FileNotFoundError: Its image is not there.
        """
        try:
            return super().prepare_data(idx)
        except FileNotFoundError as error:
            info = self.get_data_info(idx)
            raise FileNotFoundError(f'no image {info["img_path"]} ({self.split}): check the data '
                                    'by clasp data check reid') from error


def _people(shots: Iterable[ReIDSample]) -> set[str | int]:
    return {shot.person for shot in shots} - {None}


def _images(folder: Path) -> list[str]:
    """Names of the images in and below a folder, sorted."""
    if not folder.is_dir():
        raise FileNotFoundError(f'no folder {folder}; docs/data/reid.md shows the layouts')
    return list(list_images(folder))


def _refuse(names: Iterable[str], where: str, expected: str) -> None:
    """Raise if any name did not parse."""
    names = list(names)
    if names:
        raise ValueError(f'{len(names)} names of {where} do not parse, the first is {names[0]!r}; '
                         f'expected {expected}')


@DATASETS.register_module()
class Market1501(ReIDDataset):
    """Market-1501 (Zheng et al., ICCV 2015) as it is unpacked.

    ``bounding_box_train``, ``query`` and ``bounding_box_test`` with names such as
    ``0002_c1s1_000451_03.jpg``: identity, camera from 1. Junk (identity -1) is left out;
    distractors (identity 0, outside train) have no identity.
    """

    METAINFO = {'dataset_name': 'Market-1501'}
    FOLDERS = {'train': 'bounding_box_train', 'query': 'query', 'gallery': 'bounding_box_test'}
    NAME = re.compile(r'(-1|\d{4})_c([1-9])s\d_\d{6}_\d{2}\.')
    DISTRACTOR = '0000'

    def read(self, part: str) -> list[ReIDSample]:
        folder = self.FOLDERS[part]
        names = _images(Path(self.data_root, folder))
        found = {name: self.NAME.match(Path(name).name) for name in names}
        _refuse((name for name, match in found.items() if match is None), folder,
                'identity_cCAMERAsSEQUENCE_frame_box, as 0002_c1s1_000451_03.jpg')
        return [ReIDSample(f'{folder}/{name}',
                     None if match[1] == self.DISTRACTOR and part != 'train' else int(match[1]),
                     int(match[2]) - 1)
                for name, match in found.items() if match[1] != '-1']


@DATASETS.register_module()
class MSMT17(ReIDDataset):
    """MSMT17 (Wei et al., CVPR 2018) as it is unpacked, first version or second.

    ``list_train.txt``, ``list_val.txt`` (both are trained on), ``list_query.txt`` and
    ``list_gallery.txt`` have lines such as ``0000/0000_000_01_0303morning_0015_0.jpg 0``; the
    third number of a name is the camera, from 1. The images lie in ``train`` and ``test``
    (``mask_train_v2`` and ``mask_test_v2`` of the second version). Identities of ``train`` and
    ``test`` are numbered apart: the same number is not the same person.
    """

    METAINFO = {'dataset_name': 'MSMT17'}
    LISTS = {'train': ('list_train.txt', 'list_val.txt'), 'query': ('list_query.txt', ),
             'gallery': ('list_gallery.txt', )}
    LINE = re.compile(r'(\S*/?\d+_\d+_(0*[1-9]\d*)_\S+)\s+(\d+)')

    def read(self, part: str) -> list[ReIDSample]:
        side = 'train' if part == 'train' else 'test'
        folder = next((name for name in (side, f'mask_{side}_v2')
                       if Path(self.data_root, name).is_dir()), None)
        if folder is None:
            raise FileNotFoundError(f'no folder {side} or mask_{side}_v2 in {self.data_root}; '
                                    'docs/data/reid.md shows the layouts')
        shots = []
        for name in self.LISTS[part]:
            path = Path(self.data_root, name)
            if not path.is_file():
                raise FileNotFoundError(f'no list {path}; it comes with the images')
            lines = [line for line in read_text(path).splitlines() if line.strip()]
            found = {line: self.LINE.fullmatch(line.strip()) for line in lines}
            _refuse((line for line, match in found.items() if match is None), name,
                    '0000/0000_000_01_0303morning_0015_0.jpg 0: file, identity')
            shots += [ReIDSample(f'{folder}/{match[1]}', int(match[3]), int(match[2]) - 1)
                      for match in found.values()]
        return shots

    def _train_identities(self) -> set[str | int]:
        return set()


@DATASETS.register_module()
class ReIDFolder(ReIDDataset):
    """Images in and below folders ``{train,query,gallery}/IDENTITY/``, of anybody's own.

    Args:
        data_root: Folder of the three folders.
        split: See :class:`ReIDDataset`.
        camera_pattern: Regular expression searched for in an image's name, whose first group is
            the number of the camera, from 0; where the group is empty, the camera is not known.
            None: no camera is known, and a query is compared with every other image.
        **kwargs: Arguments of :class:`ReIDDataset`.

    Raises:
        ValueError: A name does not match ``camera_pattern``; see also :class:`ReIDDataset`.
    """

    def __init__(self, data_root: str, split: str = 'train', camera_pattern: str | None = None,
                 **kwargs: Any) -> None:
        self.camera_pattern = None if camera_pattern is None else re.compile(camera_pattern)
        if self.camera_pattern is not None and not self.camera_pattern.groups:
            raise ValueError(f'camera_pattern={camera_pattern!r} has no group, which is the number '
                             r"of the camera, as in r'_c(\d+)_'")
        super().__init__(data_root, split, **kwargs)

    def read(self, part: str) -> list[ReIDSample]:
        folder = Path(self.data_root, part)
        names = [tuple(name.split('/', 1)) for name in _images(folder) if '/' in name]
        cameras = dict.fromkeys(names, NO_CAMERA)
        if self.camera_pattern is not None:
            found = {key: self.camera_pattern.search(Path(key[1]).name) for key in names}
            _refuse((name for (_, name), match in found.items() if match is None), str(folder),
                    f'a match of camera_pattern={self.camera_pattern.pattern!r}')
            _refuse((name for (_, name), match in found.items()
                     if match[1] and not match[1].isdecimal()), str(folder),
                    f'a number as the first group of {self.camera_pattern.pattern!r}')
            cameras = {key: int(match[1] or NO_CAMERA) for key, match in found.items()}
        return [ReIDSample(f'{part}/{person}/{name}', person, cameras[person, name])
                for person, name in names]


@DATASETS.register_module()
class ReIDTable(ReIDDataset):
    """Images listed in a CSV file with the columns image, identity, split and, if known, camera.

    An empty cell is a camera that is not known, or nobody; spaces around a cell do not count.

    Args:
        data_root: Folder that the images are relative to.
        split: See :class:`ReIDDataset`; the column ``split`` holds train, query or gallery.
        ann_file: The CSV file, relative to ``data_root`` or absolute.
        **kwargs: Arguments of :class:`ReIDDataset`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A column is missing, or a row has an unknown split or a camera that is no
            number from 0; see also :class:`ReIDDataset`.
    """

    def __init__(self, data_root: str, split: str = 'train', ann_file: str = 'labels.csv',
                 **kwargs: Any) -> None:
        super().__init__(data_root, split, ann_file=ann_file, **kwargs)

    def read(self, part: str) -> list[ReIDSample]:
        path, shots = Path(self.ann_file), []
        for line, row in read_table(path, ('image', 'identity', 'split'))[1]:
            if row['split'] not in SPLITS[:3]:
                raise ValueError(f'{path}:{line}: split {row["split"]!r} is none of {SPLITS[:3]}')
            camera = camera_number(row.get('camera', ''), path, line)
            if row['split'] == part:
                shots.append(ReIDSample(row['image'], row['identity'] or None, camera))
        return shots


def camera_number(text: str, path: Path, line: int) -> int:
    """The camera in a cell of a table; ``NO_CAMERA`` of an empty one.

    Raises:
        ValueError: It is no number from 0.
    """
    if text and not text.isdecimal():
        raise ValueError(f'{path}:{line}: camera {text!r} is no number from 0; leave it empty '
                         'where it is not known')
    return int(text or NO_CAMERA)

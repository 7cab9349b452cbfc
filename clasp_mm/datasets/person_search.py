"""Person search on whole pictures: CUHK-SYSU and PRW."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.datasets import BaseDetDataset
from mmengine.logging import print_log

from clasp_mm.registry import DATASETS

from .images import list_images
from .search_annotations import UNLABELLED, Frame, Query, read_cuhk_sysu, read_prw


class PersonSearchDataset(BaseDetDataset):
    """Base of the data sets of person search.

    Of each frame, ``instances`` have ``bbox`` (x1, y1, x2, y2 in pixels) and, as ``bbox_label``,
    the identity: from 0, or ``UNLABELLED`` (5555). To test, ``queries`` are the people of the frame
    that are searched for: ``query`` (number), ``bbox``, ``pid`` and ``gallery``, the ``img_id`` of
    the frames to search, or None for all but this one. ``clasp_mm.SeqNet`` and
    ``clasp_mm.PersonSearchMetric`` read ``instances`` and ``queries``: pack them as meta keys.
    Of train, metainfo has ``num_identities``, which ``clasp_mm.IdentityCountHook`` checks.

    Boxes without area are left out, and so are frames without people in training; both are counted
    in the log.

    Args:
        data_root: Folder of the data set.
        split: ``'train'`` or ``'test'``.
        **kwargs: Arguments of mmdet's BaseDetDataset.

    Raises:
        FileNotFoundError: An annotation or an image is missing.
        ValueError: An annotation that cannot be read, or a query that no frame has.
    """

    METAINFO = dict(classes=('person', ), palette=[(220, 20, 60)])
    image_folder = ''

    def __init__(self, data_root: str, split: str = 'train', **kwargs: Any) -> None:
        if split not in ('train', 'test'):
            raise ValueError(f"split must be 'train' or 'test', got {split!r}")
        self.split = split
        super().__init__(data_root=os.path.expanduser(data_root), test_mode=split == 'test',
                         **kwargs)

    def read(self) -> tuple[list[Frame], list[Query]]:
        """The frames and queries of the split."""
        raise NotImplementedError

    def load_data_list(self) -> list[dict]:
        frames, queries = self.read()
        folder = Path(self.data_root) / self.image_folder
        self._check_images(folder, frames)
        number = {frame.name: at for at, frame in enumerate(frames)}
        searched: list[list[dict]] = [[] for _ in frames]
        for at, query in enumerate(queries):
            searched[self._number(number, query.frame, at)].append(dict(
                query=at, bbox=query.box.tolist(), pid=query.pid,
                gallery=None if query.gallery is None else
                [self._number(number, name, at) for name in query.gallery]))
        data_list, dropped = [], 0
        for frame, own in zip(frames, searched, strict=True):
            sound = (frame.boxes[:, 2:] > frame.boxes[:, :2]).all(axis=1)
            dropped += int((~sound).sum())
            data_list.append(dict(
                img_id=number[frame.name], img_path=str(folder / frame.name), queries=own,
                instances=[dict(bbox=box, bbox_label=pid, ignore_flag=0) for box, pid in zip(
                    frame.boxes[sound].tolist(), frame.pids[sound].tolist(), strict=True)]))
        self._tell(frames, queries, dropped)
        if self.test_mode:
            return data_list
        known = [pid for frame in frames for pid in frame.pids.tolist() if pid != UNLABELLED]
        self._metainfo['num_identities'] = max(known, default=-1) + 1
        return [one for one in data_list if one['instances']]

    def _check_images(self, folder: Path, frames: Sequence[Frame]) -> None:
        there = set(list_images(folder)) if folder.is_dir() else set()
        missing = [frame.name for frame in frames if frame.name not in there]
        if missing:
            raise FileNotFoundError(
                f'{len(missing)} of {len(frames)} images of {self.split} are not in {folder}, '
                f'the first is {missing[0]}')

    def _number(self, number: dict[str, int], name: str, query: int) -> int:
        if name not in number:
            raise ValueError(f'{self.data_root}: query {query} needs {name}, which is no frame of '
                             f'{self.split}')
        return number[name]

    def _tell(self, frames: Sequence[Frame], queries: Sequence[Query], dropped: int) -> None:
        pids = np.concatenate([np.zeros(0, int), *(frame.pids for frame in frames)])
        empty = sum(not len(frame.boxes) for frame in frames)
        print_log(f'{type(self).__name__} {self.split}: {len(frames)} frames ({empty} without '
                  f'people), {len(pids)} boxes, {len(set(pids.tolist()) - {UNLABELLED})} '
                  f'identities, {len(queries)} queries'
                  + (f'; left out {dropped} boxes without area' if dropped else ''), 'current')


@DATASETS.register_module()
class CUHKSYSU(PersonSearchDataset):
    """CUHK-SYSU (Xiao et al., CVPR 2017): ``Image/SSM`` and ``annotation``.

    Args:
        *args: As the base's.
        gallery_size: 50, 100, 500, 1000, 2000 or 4000 frames to search for each query.
        **kwargs: As the base's.
    """

    image_folder = 'Image/SSM'

    def __init__(self, *args: Any, gallery_size: int = 100, **kwargs: Any) -> None:
        self.gallery_size = gallery_size
        super().__init__(*args, **kwargs)

    def read(self) -> tuple[list[Frame], list[Query]]:
        return read_cuhk_sysu(Path(self.data_root), self.split, self.gallery_size)


@DATASETS.register_module()
class PRW(PersonSearchDataset):
    """PRW (Zheng et al., CVPR 2017): ``frames``, ``annotations`` and the lists beside them."""

    image_folder = 'frames'

    def read(self) -> tuple[list[Frame], list[Query]]:
        return read_prw(Path(self.data_root), self.split)

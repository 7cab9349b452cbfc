"""Pedestrian attribute recognition: PA-100K, PETA and RAP."""

from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from clasp_mm.registry import DATASETS

from .attribute_files import read_attribute_file


@DATASETS.register_module()
class AttributeDataset(BaseDataset):
    """Crops of people with attributes that are there, or not, or unknown.

    A sample is ``dict(img_path, gt_score)``, ``gt_score`` (A,) float32 of 1, 0 and -1 (unknown).
    ``metainfo`` has ``classes``, the attributes' names.

    Args:
        ann_file: PA-100K's ``annotation.mat`` or RethinkPAR's ``dataset_zs_run0.pkl``, below
            ``data_root``; see :func:`~.attribute_files.read_attribute_file`.
        split: ``'train'``, ``'val'``, ``'trainval'`` or ``'test'``.
        data_prefix: ``img_path``, the folder of the images.
        **kwargs: Arguments of MMEngine's ``BaseDataset``.

    Raises:
        FileNotFoundError: There is no annotation file.
        ValueError: It is damaged, or has no such split.
    """

    def __init__(self, ann_file: str, split: str, data_prefix: dict | str = 'data',
                 **kwargs: Any) -> None:
        self.split = split
        if isinstance(data_prefix, str):
            data_prefix = dict(img_path=data_prefix)
        super().__init__(ann_file=ann_file, data_prefix=data_prefix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the annotation file; names the attributes in ``metainfo``."""
        table = read_attribute_file(self.ann_file)
        try:
            rows = table.rows(self.split)
        except ValueError as error:
            raise ValueError(f'{self.ann_file}: {error}') from error
        self._metainfo.update(classes=table.attributes)
        print_log(f'{self.ann_file}: {len(rows)} images of {self.split}, '
                  f'{len(table.attributes)} attributes'
                  + (f'; {table.num_unsure} entries of the file cannot be told and count as 0'
                     if table.num_unsure else ''), logger='current')
        folder = self.data_prefix['img_path']
        return [dict(img_path=f'{folder}/{table.names[row]}',
                     gt_score=table.labels[row].astype(np.float32)) for row in rows]


def positive_ratios(dataset: Any) -> np.ndarray:
    """Share of the images, of those known, that have each attribute, (A,) float32.

    Args:
        dataset: An :class:`AttributeDataset` or anything whose ``get_data_info`` gives
            ``gt_score``, such as MMEngine's concatenation.

    Raises:
        ValueError: A label is none; names its image.
    """
    labels = np.stack([dataset.get_data_info(index)['gt_score'] for index in range(len(dataset))])
    strange = ~np.isin(labels, (-1, 0, 1))
    if strange.any():
        row = int(strange.any(1).argmax())
        raise ValueError(f'{dataset.get_data_info(row).get("img_path", row)}: gt_score holds '
                         f'{labels[row][strange[row]][0]}; attributes are 1, 0 or -1 (unknown)')
    known = (labels >= 0).sum(axis=0)
    return ((labels == 1).sum(axis=0) / np.maximum(known, 1)).astype(np.float32)

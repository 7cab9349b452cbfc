"""LIP in mmsegmentation, which this module imports: name it in ``custom_imports``."""

import os.path as osp
from collections.abc import Sequence
from typing import Any

import cv2
from mmseg.datasets import LIPDataset

from clasp_mm.registry import DATASETS

from .name_table import NameTable
from .transforms.check_label_map import CheckLabelMap


@DATASETS.register_module()
class LIP(LIPDataset):
    """mmsegmentation's ``LIPDataset``, its list read as the check of the data reads it.

    ``metainfo=dict(classes=...)`` names other classes; a part of LIP's is mapped to these.

    Raises:
        FileNotFoundError: There is no such list, image or label map.
        ValueError: An image or a label map cannot be decoded, or does not fit; it is named. Or
            ``clasp_mm.CheckLabelMap`` of the pipeline has another number of classes.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        named = len(self.metainfo['classes'])
        for transform in self.pipeline.transforms:
            if isinstance(transform, CheckLabelMap) and transform.num_classes != named:
                raise ValueError(f'clasp_mm.CheckLabelMap has num_classes={transform.num_classes}, '
                                 f'the data {named} classes: name yours in the data sets by '
                                 'metainfo=dict(classes=...), or the score counts others')

    @classmethod
    def get_label_map(cls, new_classes: Sequence[str] | None = None) -> dict[int, int] | None:
        """As mmseg's, of a part of LIP's classes; others are those of the label maps."""
        if new_classes is None or not set(new_classes) <= set(cls.METAINFO['classes']):
            return None
        return super().get_label_map(new_classes)

    def _update_palette(self) -> list:
        """Colours of the classes; LIP's are none of others'."""
        if self.label_map is None and len(self._metainfo['classes']) != len(
                self._metainfo['palette']):
            self._metainfo['palette'] = []
        return super()._update_palette()

    def load_data_list(self) -> list[dict]:
        """An image, and its label map where ``data_prefix`` has these, for each name."""
        places = [(key, self.data_prefix[key], suffix) for key, suffix in (
            ('img_path', self.img_suffix), ('seg_map_path', self.seg_map_suffix))
            if self.data_prefix.get(key) is not None]
        return [dict({key: osp.join(folder, name + suffix) for key, folder, suffix in places},
                     label_map=self.label_map, reduce_zero_label=self.reduce_zero_label,
                     seg_fields=[])
                for name in NameTable.from_file(self.ann_file).stripped()]

    def prepare_data(self, idx: int) -> dict:
        """The packed sample; what its decoders say is told with the files' names."""
        try:
            return super().prepare_data(idx)
        except FileNotFoundError:
            raise
        except (OSError, SyntaxError, cv2.error) as error:  # Pillow's of damaged PNGs is the second
            info = self.get_data_info(idx)
            raise ValueError(f'{info["img_path"]} or {info.get("seg_map_path")} cannot be read: '
                             f'{error}') from error

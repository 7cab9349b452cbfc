"""LIP in mmsegmentation, which this module imports: name it in ``custom_imports``."""

import os.path as osp

import cv2
from mmseg.datasets import LIPDataset

from clasp_mm.registry import DATASETS

from .name_table import NameTable


@DATASETS.register_module()
class LIP(LIPDataset):
    """mmsegmentation's ``LIPDataset``, its list read as the check of the data reads it.

    Raises:
        FileNotFoundError: There is no such list, image or label map.
        ValueError: An image or a label map cannot be decoded, or does not fit; it is named.
    """

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

"""Boxes in COCO's form in mmdet, with what cannot be read in the file told.

Needs mmdet, so nothing here imports it: a config names it in ``custom_imports``.
"""

from collections import defaultdict

from mmdet.datasets import CocoDataset
from mmengine.logging import print_log

from clasp_mm.registry import DATASETS

from .coco_annotations import box_fault, first, unusable


@DATASETS.register_module()
class CocoBoxes(CocoDataset):
    """mmdet's ``CocoDataset``; its arguments.

    Annotations without a box, or with one that is not four finite numbers, are left out, counted
    and named in the log; an area that is missing is the box's. What mmdet leaves out itself (other
    classes, boxes that are empty or outside their image) it does not count.

    Raises:
        ValueError: In test mode, where mmdet's metric reads the file too, an annotation has no box,
            area or iscrowd.
    """

    def load_data_list(self) -> list[dict]:
        self._left_out: dict[str, list] = defaultdict(list)
        images = super().load_data_list()
        for fault, ids in self._left_out.items():
            print_log(f'{self.ann_file}: left out {len(ids)} annotations {fault}: {first(ids)}',
                      'current', 30)
        return images

    def parse_data_info(self, raw_data_info: dict) -> dict:
        usable = []
        for annotation in raw_data_info['raw_ann_info']:
            fault = box_fault(annotation)
            if self.test_mode:
                fault = fault or next((f'without {name}' for name in ('area', 'iscrowd')
                                       if name not in annotation), None)
            if fault and self.test_mode:
                raise unusable(self.ann_file, annotation, fault)
            if fault:
                self._left_out[fault].append(annotation['id'])
            else:
                area = annotation['bbox'][2] * annotation['bbox'][3]
                usable.append({'area': area, **annotation})
        return super().parse_data_info(dict(raw_data_info, raw_ann_info=usable))

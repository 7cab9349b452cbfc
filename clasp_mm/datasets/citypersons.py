"""CityPersons: pedestrians in Cityscapes, with visible boxes and regions to ignore."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdet.datasets import BaseDetDataset
from mmengine.logging import print_log

from clasp_mm.registry import DATASETS

from .coco_annotations import has_area_inside
from .pedestrian_annotations import read_coco, read_folder


@DATASETS.register_module()
class CityPersons(BaseDetDataset):
    """CityPersons in either form of its annotations (Zhang et al., CVPR 2017).

    ``ann_file`` is the official folder of one split (``gtBboxCityPersons/train``, a JSON file for
    each image below a folder for each city), or one JSON file in COCO's manner (``val_gt.json``).
    Images are found below ``data_prefix['img']``, the split's folder of ``leftImg8bit``.

    An instance has ``bbox`` and ``bbox_visible`` (x1, y1, x2, y2 in pixels; they may leave the
    image), ``visibility`` (visible area over whole area), ``bbox_label`` 0 and ``ignore_flag``: 1
    for all that is no pedestrian and, in training, for pedestrians below ``min_height``. To test,
    pack ``instances`` as a meta key: ``clasp_mm.MissRateMetric`` reads them.

    Boxes without area or wholly outside their image are left out, counted in the log.

    Args:
        min_height: In training, lower pedestrians (pixels) are ignored.
        **kwargs: Arguments of mmdet's BaseDetDataset.

    Raises:
        FileNotFoundError: There is no such annotation, or a folder without any.
        ValueError: An annotation that cannot be read, or lacks a field; it names file and field.
    """

    METAINFO = dict(classes=('pedestrian', ), palette=[(220, 20, 60)])

    def __init__(self, *args: Any, min_height: float = 50, **kwargs: Any) -> None:
        self.min_height = min_height
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Every image with its instances, those without people too."""
        read = read_folder if Path(self.ann_file).is_dir() else read_coco
        data_list, bad = [], []
        for img_id, image in enumerate(read(self.ann_file)):
            instances = []
            for item in image['instances']:
                if has_area_inside(item['bbox'], image['width'], image['height']):
                    instances.append(self._instance(item))
                else:
                    bad.append(f'{image["img_path"]} {item["bbox"]}')
            data_list.append(dict(image, img_id=img_id, instances=instances,
                                  img_path=self._find_image(image['img_path'])))
        if bad:
            print_log(f'{self.ann_file}: left out {len(bad)} boxes without area or outside their '
                      f'image (x1, y1, x2, y2), as {bad[0]}', 'current', 30)
        return data_list

    def _instance(self, item: Mapping[str, Any]) -> dict[str, Any]:
        (x1, y1, x2, y2), (left, top, right, bottom) = item['bbox'], item['bbox_visible']
        visibility = item.get('visibility')
        if visibility is None:
            visibility = (right - left) * (bottom - top) / ((x2 - x1) * (y2 - y1))
        low = not self.test_mode and y2 - y1 < self.min_height
        return dict(bbox=item['bbox'], bbox_visible=item['bbox_visible'],
                    visibility=float(visibility), bbox_label=0,
                    ignore_flag=int(item['ignore'] or low))

    def _find_image(self, name: str) -> str:
        """Path of an image; ``val_gt.json`` gives names without the city's folder."""
        prefix = Path(self.data_prefix.get('img', ''))
        path = prefix / name
        if '/' not in name and not path.is_file():
            path = prefix / name.split('_')[0] / name
        return str(path)

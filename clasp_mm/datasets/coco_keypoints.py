"""COCO keypoints in mmpose, with what is wrong in the files told instead of dropped or met later.

Needs mmpose, so nothing here imports it: a config names it in ``custom_imports``.
"""

from collections import defaultdict
from pathlib import Path

from mmengine.fileio import load
from mmengine.logging import print_log
from mmpose.datasets import CocoDataset, CrowdPoseDataset

from clasp_mm.registry import DATASETS

from .coco_annotations import box_fault, first, has_area_inside, keypoints_fault, unusable


class _Told:
    """Mixin of mmpose's top-down data sets in COCO's form; see :class:`CocoKeypoints`."""

    def load_data_list(self) -> list[dict]:
        for what, path in (('annotation', self.ann_file), ('detections', self.bbox_file)):
            if path and '://' not in path and not Path(path).is_file():
                raise FileNotFoundError(
                    f'no {what} file {path} (data_root={self.data_root!r}): see '
                    'docs/data/pose.md for the layout; of COCO, '
                    'clasp data check pose DIR tells what else is missing')
            if path and not path.endswith('.json'):  # MMEngine would run what a pickle asks for
                raise ValueError(f'{what} file {path} is no .json, as COCO gives them out')
        self._left_out: dict[str, list] = defaultdict(list)
        people = super().load_data_list()
        if not people:
            raise ValueError(f'{self.bbox_file or self.ann_file}: nobody in it can be used; the '
                             'log says why')
        return people

    def parse_data_info(self, raw_data_info: dict) -> dict | None:
        annotation = raw_data_info['raw_ann_info']
        if not self._can_be_used(annotation):
            return None
        expected = self.metainfo['num_keypoints']
        if len(annotation['keypoints']) != 3 * expected:
            raise ValueError(
                f'{self.ann_file}: annotation {annotation["id"]} of image '
                f'{annotation["image_id"]} has {len(annotation["keypoints"])} numbers as its '
                f'keypoints, {self.metainfo["dataset_name"]} has {expected} x (x, y, visibility): '
                'is it the file of another data set?')
        return super().parse_data_info(raw_data_info)

    def _can_be_used(self, annotation: dict) -> bool:
        fault = keypoints_fault(annotation)
        if fault and self.test_mode:
            raise unusable(self.ann_file, annotation, fault)
        if fault:
            self._left_out[fault].append(annotation['id'])
        return not fault

    def _get_topdown_data_infos(self, instance_list: list[dict]) -> list[dict]:
        kept = super()._get_topdown_data_infos(instance_list)
        for person in instance_list:
            if fault := _fault(person):
                self._left_out[fault].append(person['id'])
        images = len(self.coco.getImgIds())
        faults = sorted(self._left_out.items(), key=lambda fault: -len(fault[1]))
        print_log(
            f'{self.ann_file}: {len(kept)} people in {len({person["img_id"] for person in kept})} '
            f'of {images} images; left out: '
            + (', '.join(f'{len(ids)} {fault} (annotation {first(ids)})' for fault, ids in faults)
               or 'nobody'), logger='current')
        return kept

    def _load_detection_results(self) -> list[dict]:
        content, detections = load(self.ann_file), load(self.bbox_file)
        for annotation in content['annotations']:  # the evaluation reads them at its end
            self._can_be_used(annotation)
        for number, detection in enumerate(detections):
            if fault := box_fault(detection):
                raise ValueError(f'{self.bbox_file}: detection {number} (from 0), of image '
                                 f'{detection.get("image_id")}, is {fault}')
        known = {image['id'] for image in content['images']}
        asked = {detection['image_id'] for detection in detections}
        if unknown := asked - known:
            raise ValueError(
                f'{self.bbox_file} has detections in {len(unknown)} images, such as '
                f'{min(unknown)}, that {self.ann_file} does not know ({len(asked & known)} it '
                'does): take the detections of the same split')
        people = super()._load_detection_results()
        kept = [person for person in people if has_area_inside(
            person['bbox'][0].tolist(), *person['img_shape'][::-1])]
        print_log(
            f'{self.bbox_file}: {len(kept)} detected people in {len(asked)} of {len(known)} '
            f'images; left out: {len(people) - len(kept)} with a box that is empty or outside the '
            'image', logger='current')
        return kept


@DATASETS.register_module()
class CocoKeypoints(_Told, CocoDataset):
    """mmpose's ``CocoDataset``; its arguments.

    People that cannot be used (crowd regions, without keypoints, without a box, with an empty one
    or one outside the image, with numbers that are not finite) are left out and counted in the
    log, with the images that show nobody and the first annotations' ids.

    Raises:
        FileNotFoundError: There is no annotation or detections file.
        ValueError: An annotation has another number of keypoints, or in test mode, where mmpose's
            metric reads them all, none or no box; a detection has no box; detections are of images
            that the annotation file does not know; or nobody is left.
    """


@DATASETS.register_module()
class CrowdPoseKeypoints(_Told, CrowdPoseDataset):
    """mmpose's ``CrowdPoseDataset``, as :class:`CocoKeypoints` is its ``CocoDataset``."""


def _fault(person: dict) -> str | None:
    """Why mmpose leaves a person out, in the order in which it asks."""
    width, height = person['bbox'][0, 2:] - person['bbox'][0, :2]
    if person['iscrowd']:
        return 'crowd regions'
    if person['num_keypoints'] == 0 or person['keypoints'].max() <= 0:
        return 'without a labelled keypoint'
    if width <= 0 or height <= 0:
        return 'with a box that is empty or outside the image'
    return None

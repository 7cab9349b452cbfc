"""Check COCO person keypoints in the official layout, with the detections that configs expect."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clasp_mm.utils.files import read_json

from ..coco_annotations import box_fault, has_area_inside, keypoints_fault
from ..images import list_images
from . import CheckReport

NUM_KEYPOINTS = 17
SPLITS = ('train2017', 'val2017')
DETECTIONS = 'person_detection_results/COCO_val2017_detections_AP_H_56_person.json'
# Images, and people with keypoints, of the 2017 release.
_OFFICIAL = {'train2017': (118287, 149813), 'val2017': (5000, 6352)}


def check_coco(root: Path) -> CheckReport:
    """Look at a data root as ``configs/pose`` expects it.

    Args:
        root: It should hold annotations/person_keypoints_{train,val}2017.json, train2017/,
            val2017/ and the detections file.
    """
    findings = CheckReport()
    known: dict[str, set[int]] = {}
    for split in SPLITS:
        name = f'annotations/person_keypoints_{split}.json'
        content = _read(root, name, findings)
        if isinstance(content, Mapping) and {'images', 'annotations'} <= set(content):
            known[split] = {image['id'] for image in content['images']}
            _check_annotations(content, name, split, findings)
            _check_images(root / split, content, findings)
        elif content is not None:
            findings.problems.append(f'{name} has no images and annotations: it is no file of '
                                     'annotations')
    detections = _read(root, DETECTIONS, findings)
    if detections is not None and 'val2017' in known:
        findings.first('detections (numbers from 0) whose box cannot be used', [
            f'{number} {fault}' for number, detection in enumerate(detections)
            if (fault := box_fault(detection))])
        images = {detection['image_id'] for detection in detections}
        findings.facts.append(f'{DETECTIONS}: {len(detections)} boxes in {len(images)} images')
        findings.first('images of the detections that val2017 does not know; it is the file of '
                       'another split', sorted(images - known['val2017']))
    return findings


def _read(root: Path, name: str, findings: CheckReport) -> Any:
    try:
        return read_json(root / name)
    except FileNotFoundError:
        findings.problems.append(f'{name} is missing below {root}')
    except (ValueError, OSError) as error:
        findings.problems.append(f'{name} cannot be read ({error}): fetch it again')
    return None


def _check_annotations(content: Mapping, name: str, split: str, findings: CheckReport) -> None:
    images = {image['id']: image for image in content['images']}
    people, crowds, counts, strange, empty = 0, 0, [], [], []
    faults: dict[str, list] = defaultdict(list)
    for person in content['annotations']:
        crowds += bool(person.get('iscrowd'))
        fault = keypoints_fault(person)
        if fault:
            faults[fault].append(person['id'])
        elif len(person['keypoints']) != 3 * NUM_KEYPOINTS:
            counts.append(person['id'])
        if person['image_id'] not in images:
            strange.append(person['id'])
        elif not fault and not person.get('iscrowd') and person.get('num_keypoints'):
            people += 1
            x, y, width, height = person['bbox']
            image = images[person['image_id']]
            if not has_area_inside([x, y, x + width, y + height], image['width'], image['height']):
                empty.append(person['id'])
    official = ', '.join(f'{count} {what}' for count, what in zip(
        _OFFICIAL[split], ('images', 'people'), strict=True))
    findings.facts.append(f'{name}: {len(images)} images, {people} people with keypoints, '
                          f'{crowds} crowd regions (the whole of {split}: {official})')
    for fault, ids in faults.items():
        findings.first(f'annotations of {name} {fault}; training leaves them out, the evaluation '
                       'stops at them', ids)
    findings.first(f'annotations of {name} without {NUM_KEYPOINTS} x 3 keypoint numbers', counts)
    findings.first(f'annotations of {name} of images that it does not list', strange)
    findings.first(f'people of {name} with a box that is empty or outside the image; they are '
                   'left out in training', empty)


def _check_images(folder: Path, content: Mapping, findings: CheckReport) -> None:
    if not folder.is_dir():
        findings.problems.append(f'{folder.name}/ is missing below {folder.parent}')
        return
    there = set(list_images(folder))
    names = [image['file_name'] for image in content['images']]
    findings.facts.append(f'{folder.name}/: {len(there)} images')
    findings.first(f'images are missing in {folder.name}/',
                   sorted(name for name in names if name not in there))

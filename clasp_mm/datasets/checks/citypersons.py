"""Check CityPersons in the official layout."""

from collections import Counter
from pathlib import Path

from tqdm import tqdm

from ..coco_annotations import has_area_inside
from ..pedestrian_annotations import ANNOTATION, IMAGE, names_in_cities, read_annotation
from . import CheckReport

_OFFICIAL = {'train': 2975, 'val': 500}


def check_citypersons(root: Path) -> CheckReport:
    """Look at a data root as ``configs/detection`` expects it.

    Args:
        root: It should hold leftImg8bit/{train,val}/CITY/*_leftImg8bit.png of Cityscapes and
            gtBboxCityPersons/{train,val}/CITY/*_gtBboxCityPersons.json.
    """
    findings = CheckReport()
    for split, official in _OFFICIAL.items():
        images = _names(root / 'leftImg8bit' / split, IMAGE)
        annotations = _names(root / 'gtBboxCityPersons' / split, ANNOTATION)
        for folder, found in (('leftImg8bit', images), ('gtBboxCityPersons', annotations)):
            if len(found) != official:
                findings.problems.append(
                    f'{folder}/{split} below {root} holds {len(found)} files of the name it '
                    f'should, the official split {official}')
        findings.first(f'images of {split} without annotation',
                       [name for name in images if name not in annotations])
        findings.first(f'annotations of {split} without image',
                       [name for name in annotations if name not in images])
        findings.first(f'images of {split} are empty files',
                       [name for name, file in images.items() if not file.stat().st_size])
        _check_boxes(annotations, split, findings)
    return findings


def _names(folder: Path, suffix: str) -> dict[str, Path]:
    """``city/stem`` and file of all that ends in ``suffix``."""
    names = names_in_cities(folder, suffix) if folder.is_dir() else []
    return {name.removesuffix(suffix): folder / name for name in names}


def _check_boxes(annotations: dict[str, Path], split: str, findings: CheckReport) -> None:
    count: Counter[str] = Counter()
    bad, unread = [], []
    for name, file in tqdm(annotations.items(), desc=split, unit='file'):
        try:
            image = read_annotation(file)
        except ValueError as error:
            unread.append(str(error))
            continue
        people = [one for one in image['instances'] if not one['ignore']]
        count.update(pedestrians=len(people), others=len(image['instances']) - len(people),
                     empty=not people)
        bad += [f'{name} {one["bbox"]}' for one in image['instances']
                if not has_area_inside(one['bbox'], image['width'], image['height'])]
    findings.facts.append(
        f'{split}: {len(annotations)} annotated images, {count["empty"]} of them without a '
        f'pedestrian; {count["pedestrians"]} pedestrians, {count["others"]} boxes to ignore')
    findings.first(f'annotations of {split} cannot be read', unread)
    findings.first(f'boxes of {split} without area or outside their image (x1, y1, x2, y2); '
                   'training and test leave them out', bad)

"""The annotations of CityPersons as they are on the disk, in either form."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clasp_mm.utils.files import read_json

from .images import list_files

LABELS = ('pedestrian', 'rider', 'sitting person', 'person (other)', 'person group', 'ignore')
ANNOTATION, IMAGE = '_gtBboxCityPersons.json', '_leftImg8bit.png'


def read_folder(folder: str | Path) -> Iterator[dict]:
    """Images of one split from the official annotations, in the order of their names.

    Yields:
        ``img_path`` (city and file), ``width``, ``height`` and ``instances``: ``bbox``,
        ``bbox_visible`` (x1, y1, x2, y2) and ``ignore``, true for all but pedestrians.
    """
    names = names_in_cities(folder, ANNOTATION) if Path(folder).is_dir() else []
    if not names:
        raise FileNotFoundError(f'no */*{ANNOTATION} below {folder}: it should be the folder of '
                                'a split, such as gtBboxCityPersons/train')
    for name in names:
        yield read_annotation(Path(folder, name))


def names_in_cities(folder: str | Path, suffix: str) -> list[str]:
    """``CITY/FILE`` of all files of that ending, as Cityscapes has them, in order."""
    return [name for name in list_files(folder, (suffix.lower(), )) if name.count('/') == 1]


def read_annotation(file: Path) -> dict:
    """One official file; see :func:`read_folder`."""
    content, where = read_json(file), str(file)
    instances = []
    try:
        for number, item in enumerate(content['objects']):
            where = f'{file}: object {number} (from 0)'
            if item['label'] not in LABELS:
                raise ValueError(f'{where}: unknown label {item["label"]!r}; there are '
                                 f'{", ".join(LABELS)}')
            instances.append(dict(bbox=_corners(item['bbox'], where),
                                  bbox_visible=_finite(_corners(item['bboxVis'], where), where),
                                  ignore=item['label'] != 'pedestrian'))
        where = str(file)
        return dict(img_path=f'{file.parent.name}/{file.name.removesuffix(ANNOTATION)}{IMAGE}',
                    width=content['imgWidth'], height=content['imgHeight'], instances=instances)
    except (KeyError, TypeError) as error:
        raise ValueError(f'{where}: no annotation of CityPersons, {_reason(error)}') from error


def read_coco(file: str | Path) -> Iterator[dict]:
    """Images of a file in COCO's manner, in its order; yields what :func:`read_folder` does.

    A field ``ignore`` or ``iscrowd`` that is set, or a category other than that of pedestrians (1,
    or the one so named), makes a box one to ignore. ``vis_bbox`` and ``vis_ratio`` default to all
    of the box.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f'no annotations at {file} (relative to {Path.cwd()}): ann_file is '
                                'gtBboxCityPersons/SPLIT or a JSON file in COCO form, below '
                                'data_root')
    content, where = read_json(file), str(file)
    try:
        named = [one['id'] for one in content.get('categories', ()) if one['name'] == 'pedestrian']
        pedestrian = named[0] if named else 1
        by_image: dict[Any, list[dict]] = {image['id']: [] for image in content['images']}
        for item in content['annotations']:
            where = f'{file}: annotation {item.get("id")}'
            if item['image_id'] not in by_image:
                raise ValueError(f'{where} is of image {item["image_id"]}, which is not in the '
                                 'file')
            box = visible = _corners(item['bbox'], where)
            if item.get('vis_bbox') is not None:
                visible = _finite(_corners(item['vis_bbox'], where), where)
            visibility = item.get('vis_ratio')
            by_image[item['image_id']].append(dict(
                bbox=box, bbox_visible=visible,
                visibility=None if visibility is None else _finite([visibility], where)[0],
                ignore=bool(item.get('ignore') or item.get('iscrowd')
                            or item['category_id'] != pedestrian)))
        where = str(file)
        for image in content['images']:
            yield dict(img_path=image['file_name'] if 'file_name' in image else image['im_name'],
                       width=image['width'], height=image['height'],
                       instances=by_image[image['id']])
    except (KeyError, TypeError) as error:
        raise ValueError(f'{where}: no annotations in COCO form, {_reason(error)}') from error


def _corners(box: Any, where: str) -> list[float]:
    """x, y, width, height to x1, y1, x2, y2."""
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError(f'{where}: box {box} is not x, y, width, height')
    x, y, width, height = map(float, box)
    return [x, y, x + width, y + height]


def _finite(values: list[float], where: str) -> list[float]:
    """What is visible must be known; a whole box that is not finite is left out by the reader."""
    if not all(map(math.isfinite, values)):
        raise ValueError(f'{where}: what is visible is {values}, not finite')
    return values


def _reason(error: Exception) -> str:
    return f'missing {error}' if isinstance(error, KeyError) else str(error)

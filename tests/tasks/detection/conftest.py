import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

SIZE = (96, 192)  # height, width


def official_box(x, y, w, h, label='pedestrian', visible=None) -> dict:
    return dict(label=label, bbox=[x, y, w, h], bboxVis=visible or [x, y, w, h], instanceId=24000)


def write_split(root: Path, images: dict[str, list[dict]], split: str = 'train') -> Path:
    """Write images, a red box for each object, as the official CityPersons; gives the root."""
    for name, objects in images.items():
        stem = f'{split}/{name.split("_")[0]}/{name}'
        annotation = root / f'gtBboxCityPersons/{stem}_gtBboxCityPersons.json'
        image = root / f'leftImg8bit/{stem}_leftImg8bit.png'
        for path in (annotation, image):
            path.parent.mkdir(parents=True, exist_ok=True)
        annotation.write_text(json.dumps(
            dict(imgHeight=SIZE[0], imgWidth=SIZE[1], objects=objects)))
        picture = np.full((*SIZE, 3), 90, np.uint8)
        for one in objects:
            x, y, w, h = (int(max(value, 0)) for value in one['bbox'])
            picture[y:y + h, x:x + w] = (40, 40, 200)
        cv2.imwrite(str(image), picture)
    return root


@pytest.fixture
def write_official(tmp_path):
    return partial(write_split, tmp_path)

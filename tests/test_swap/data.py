"""A few random images in the layouts that the hosts' stock configs read."""

import json
from pathlib import Path

import cv2
import numpy as np

SIDE = 96


def write_image(path: Path, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8))


def write_coco(root: Path, classes=('person', ), images: int = 2) -> None:
    """COCO's boxes, polygons and keypoints: one person in each image."""
    rng = np.random.default_rng(0)
    for split in ('train2017', 'val2017'):
        records, annotations = [], []
        for i in range(1, images + 1):
            name = f'{i:012d}.jpg'
            write_image(root / split / name, rng)
            records.append(dict(id=i, file_name=name, height=SIDE, width=SIDE))
            keypoints = np.full((17, 3), 2.)
            keypoints[:, :2] = rng.uniform(20, 76, (17, 2))
            annotations.append(dict(
                id=i, image_id=i, category_id=1, iscrowd=0, area=56 * 56, bbox=[20, 20, 56, 56],
                num_keypoints=17, keypoints=keypoints.round(1).ravel().tolist(),
                segmentation=[[20, 20, 76, 20, 76, 76, 20, 76]]))
        categories = [dict(id=i, name=name) for i, name in enumerate(classes, 1)]
        for kind in ('instances', 'person_keypoints'):
            file = root / 'annotations' / f'{kind}_{split}.json'
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps(
                dict(images=records, annotations=annotations, categories=categories)))


def write_ade(root: Path, images: int = 2) -> None:
    """ADE20K's images and label maps of 151 values, 0 for 'other'."""
    rng = np.random.default_rng(0)
    for split in ('training', 'validation'):
        for i in range(images):
            write_image(root / 'images' / split / f'{i}.jpg', rng)
            path = root / 'annotations' / split / f'{i}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            label = cv2.resize(rng.integers(0, 151, (4, 4), np.uint8), (SIDE, SIDE),
                               interpolation=cv2.INTER_NEAREST)
            cv2.imwrite(str(path), label)


def write_imagenet(root: Path, images: int = 2) -> None:
    """ImageNet's folders, with the list files of mmpretrain's ImageNet."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        names = [f'{i}.jpg' for i in range(images)]
        for name in names:
            write_image(root / split / name, rng)
        (root / 'meta').mkdir(exist_ok=True)
        (root / 'meta' / f'{split}.txt').write_text(
            ''.join(f'{name} {label}\n' for label, name in enumerate(names)))

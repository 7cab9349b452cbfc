"""The README's picture, docs/images/overview.png, by the models of zoo/."""

import tempfile
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

import clasp_mm
from clasp_mm.pseudo_labels.vocabulary import LIP_TO_PART
from clasp_mm.synthetic import COCO_SKELETON, SyntheticPeople
from clasp_mm.visualization.pseudo_labels import PART_COLOURS

HITS = 6


def show(place: plt.Axes, image: np.ndarray, words: str, frame: str = '') -> None:
    """A picture with a word below, and a frame where it has a colour."""
    place.imshow(image)
    place.set_xlabel(words, fontsize=8, color=frame or '#444')
    place.set(xticks=[], yticks=[])
    for side in place.spines.values():
        side.set(visible=bool(frame), edgecolor=frame or None, linewidth=3)


def skeleton(place: plt.Axes, points: np.ndarray) -> None:
    """Joints (17, 2) and the bones between them."""
    for start, end in COCO_SKELETON:
        place.plot(*points[[start, end]].T, color='#ffd400', linewidth=1.4)
    place.scatter(*points[5:].T, s=7, color='#e8112d', zorder=3)


def main() -> None:
    """Draw two people, their truth, and what is found for them among 48 people."""
    people = SyntheticPeople(48, 4, seed=7, size=(256, 128))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f'{i:03}.png' for i in range(len(people))]
        for path, person in zip(paths, people, strict=True):
            cv2.imwrite(str(path), person.image[..., ::-1])
        model = clasp_mm.get_model('clasp_nano', task='appearance')
        with torch.inference_mode():
            maps = model(clasp_mm.load_images(paths, size=(64, 32)))
    features = torch.nn.functional.normalize(maps[-1].mean((2, 3)))
    cosines = (features @ features.T).fill_diagonal_(-1)
    found = cosines.argsort(1, descending=True)[:, :HITS].tolist()
    same = [[people[i].identity == people[j].identity for j in row] for i, row in enumerate(found)]
    fit = {people[i].identity: i for i in range(len(people))  # the last one of a person
           if same[i][0] and (people[i].keypoints[5:, 2] == 2).sum() > 10}
    chosen = list(fit.values())[:2]

    table, colours = np.asarray(LIP_TO_PART), np.vstack([[238, 238, 238], PART_COLOURS])
    figure, axes = plt.subplots(2, 3 + HITS, figsize=(10, 4.7), layout='constrained')
    for row, i in zip(axes, chosen, strict=True):
        person = people[i]
        show(row[0], person.image, 'drawn, the query')
        show(row[1], colours[table[person.parsing]].astype(np.uint8), 'true parts')
        show(row[2], person.image, 'true joints')
        skeleton(row[2], person.keypoints[:, :2])
        for place, j, right in zip(row[3:], found[i], same[i], strict=True):
            show(place, people[j].image, f'cosine {cosines[i, j]:.2f}', '#1a7f37' if right else '')
    target = Path(__file__).parent / 'images' / 'overview.png'
    target.parent.mkdir(exist_ok=True)
    figure.savefig(target, dpi=84, facecolor='white')
    Image.open(target).convert('RGB').quantize(256).save(target, optimize=True)
    print(target)


if __name__ == '__main__':
    main()

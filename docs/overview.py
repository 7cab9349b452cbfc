"""The README's picture, docs/images/overview.png, by the models of zoo/."""

import tempfile
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import torch

import clasp_mm
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY, LIP_TO_PART
from clasp_mm.synthetic import SyntheticPeople
from clasp_mm.visualization.pseudo_labels import PART_COLOURS

BONES = ((5, 7), (7, 9), (6, 8), (8, 10), (5, 6), (11, 12), (5, 11), (6, 12), (11, 13), (13, 15),
         (12, 14), (14, 16), (0, 5), (0, 6))
SHOWN, HITS = 3, 4


def pick(people: SyntheticPeople) -> list[int]:
    """The first crop of people whose joints all show."""
    return [i for i in range(0, len(people), people.images_per_identity)
            if (people[i].keypoints[5:, 2] > 0).all()][:SHOWN]


def show(place: plt.Axes, image: np.ndarray, title: str = '', colour: str = '#444') -> None:
    """A picture without axes, with a word below."""
    place.imshow(image)
    place.set_xlabel(title, fontsize=8, color=colour)
    place.set(xticks=[], yticks=[])
    for side in place.spines.values():
        side.set_visible(False)


def skeleton(place: plt.Axes, points: np.ndarray) -> None:
    """Joints (17, 2) and the bones between them."""
    for start, end in BONES:
        place.plot(*points[[start, end]].T, color='#ffd400', linewidth=1.4)
    place.scatter(*points[5:].T, s=7, color='#e8112d', zorder=3)


def main() -> None:
    """Draw it."""
    people = SyntheticPeople(24, 4, seed=7, size=(256, 128))
    table = np.asarray(LIP_TO_PART)
    colours = np.vstack([[238, 238, 238], PART_COLOURS])[:len(DEFAULT_VOCABULARY.part_names) + 1]
    chosen = pick(people)
    figure, axes = plt.subplots(2, 2 * SHOWN + HITS, figsize=(11, 4.4), layout='constrained')
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f'{i:03}.png' for i in range(len(people))]
        for path, person in zip(paths, people, strict=True):
            cv2.imwrite(str(path), person.image[..., ::-1])
        poses = clasp_mm.inference('pose', [paths[i] for i in chosen])
        model = clasp_mm.get_model('clasp_nano', task='appearance')
        with torch.inference_mode():
            maps = model(clasp_mm.load_images(paths, size=(64, 32)))
    features = torch.nn.functional.normalize(maps[-1].mean((2, 3)))
    for row, (i, found) in enumerate(zip(chosen[:2], poses, strict=False)):
        person = people[i]
        show(axes[row, 0], person.image, 'drawn person')
        show(axes[row, 1], colours[table[person.parsing]].astype(np.uint8), 'its true parts')
        show(axes[row, 2], person.image, 'its true joints')
        skeleton(axes[row, 2], person.keypoints[:, :2])
        show(axes[row, 3], person.image, 'found by pose_nano')
        skeleton(axes[row, 3], np.asarray(found['keypoints'])[0])
        cosines = features @ features[i]
        order = [j for j in cosines.argsort(descending=True).tolist() if j != i][:axes.shape[1] - 5]
        show(axes[row, 4], person.image, 'search: the query')
        for place, j in zip(axes[row, 5:], order, strict=True):
            same = people[j].identity == person.identity
            show(place, people[j].image, f'cosine {cosines[j]:.3f}', '#1a7f37' if same else '#444')
    target = Path(__file__).parent / 'images' / 'overview.png'
    target.parent.mkdir(exist_ok=True)
    figure.savefig(target, dpi=80, facecolor='white', pil_kwargs=dict(optimize=True))
    print(target)


if __name__ == '__main__':
    main()

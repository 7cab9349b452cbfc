"""Multi-crop views from JPEG files against the Pillow and torchvision form of DINO's recipe."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from clasp_mm.datasets import LUPerson
from clasp_mm.datasets.images import read_image
from clasp_mm.datasets.transforms import MultiCrop, PackViews
from clasp_mm.synthetic import SyntheticPeople

from .contest import Goal, Options, Row, race

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DINORecipe:
    """DINO's augmentations with SOLIDER's crops for people, from a file to normalised tensors.

    The operations and probabilities of :class:`~clasp_mm.datasets.transforms.MultiCrop` with its
    defaults, as DINO writes them.
    """

    def __init__(self) -> None:
        finish = [transforms.ToTensor(), transforms.Normalize(_MEAN, _STD)]
        colour = [
            transforms.RandomHorizontalFlip(0.5),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
            transforms.RandomGrayscale(0.2)]
        large, small = self._crop((256, 128), (0.8, 1.0)), self._crop((128, 64), (0.05, 0.8))
        self.views = [
            transforms.Compose([large, *colour, partial(_blur, 1.0), *finish]),
            transforms.Compose([large, *colour, partial(_blur, 0.1), partial(_solarize, 0.2),
                                *finish]),
            *[transforms.Compose([small, *colour, partial(_blur, 0.5), *finish])] * 8]

    @staticmethod
    def _crop(size: tuple[int, int], scale: tuple[float, float]) -> Callable:
        return transforms.RandomResizedCrop(
            size, scale=scale, ratio=(0.4, 0.6), interpolation=InterpolationMode.BICUBIC)

    def __call__(self, path: str) -> list[torch.Tensor]:
        with Image.open(path) as file:
            image = file.convert('RGB')
        return [view(image) for view in self.views]


def _blur(probability: float, image: Image.Image) -> Image.Image:
    if random.random() >= probability:
        return image
    return image.filter(ImageFilter.GaussianBlur(radius=random.uniform(0.1, 2.0)))


def _solarize(probability: float, image: Image.Image) -> Image.Image:
    return ImageOps.solarize(image) if random.random() < probability else image


def write_crops(folder: Path, number: int) -> list[Path]:
    """Synthetic people as JPEG files around 256x128, their sides from 0.8 to 1.25 of that."""
    people = SyntheticPeople(number, 1, seed=0)
    rng = np.random.default_rng(0)
    paths = []
    for index, scale in enumerate(rng.uniform(0.8, 1.25, number)):
        size = round(128 * scale), round(256 * scale * rng.uniform(0.9, 1.1))
        image = cv2.resize(people[index].image, size, interpolation=cv2.INTER_AREA)
        paths.append(folder / f'{index:04d}.jpg')
        Image.fromarray(image).save(paths[-1], quality=90)
    return paths


def data(options: Options) -> Iterator[Row]:
    """2 + 8 views, decoding included, images per second and core."""
    number = 4 if options.quick else 48
    with tempfile.TemporaryDirectory() as folder:
        paths = write_crops(Path(folder), number)
        people = LUPerson(folder, pipeline=[MultiCrop(), PackViews()])
        recipe = DINORecipe()
        mean, std = (torch.tensor(value).mul(255)[:, None, None] for value in (_MEAN, _STD))

        def ours() -> None:
            for index in range(number):
                people[index]

        def normalised() -> None:
            for index in range(number):
                for view in people[index]['inputs']:
                    (view.flip(0).float() - mean) / std

        yield race(
            'multi-crop', f'2 + 8 views of {number} JPEG files of about 256x128, decoding '
            'included, to uint8 tensors (normalised on the device)',
            'Pillow and torchvision form of DINO\'s recipe', ours,
            lambda: [recipe(str(path)) for path in paths], Goal(2.5, at_least=True),
            replace(options, profile=False),  # torch sees nothing of it
            number, dict(decoding=lambda: [read_image(path) for path in paths],
                         normalised_on_the_cpu_too=normalised))

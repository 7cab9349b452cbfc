"""Training batches: augmented people, empty scenes, masked regions, and what is true of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from clasp_mm.pseudo_labels.transfer import upload
from clasp_mm.synthetic.captions import SCENE_CAPTIONS, Caption, compose_caption
from clasp_mm.synthetic.words import LIP_CLASSES

from .people import PeopleTable, part_labels
from .region_draw import draw_exact_regions, draw_token_clusters, part_shares

_MIRRORED = [LIP_CLASSES.index(
    name.replace('Left', '_').replace('Right', 'Left').replace('_', 'Right'))
    for name in LIP_CLASSES]


@dataclass(frozen=True)
class Batch:
    """Augmented images in [0, 1] and what is true of them."""

    people: Tensor  # (B, 3, S, S)
    scenes: Tensor  # (B / 8, 3, S, S)
    regions: Tensor  # (R, 3, S, S), black outside the region
    parsing: Tensor  # (B, S, S) LIP's classes of people
    attributes: Tensor  # (B, A), -1 unknown
    shares: Tensor  # (R, P)
    captions: tuple[str, ...]  # T distinct ones
    holds: Tensor  # (B + B / 8, T) bool

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(**{item.name: upload(value, device) if isinstance(value, Tensor) else value
                        for item in fields(self) for value in [getattr(self, item.name)]})


def augment(images: Tensor, parsing: Tensor | None,
            generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Mirror, shift by up to a sixteenth, and change light and tint, each image by itself.

    Args:
        images: (B, 3, S, S) uint8.
        parsing: (B, S, S) LIP's classes, which follow the pixels and change sides, or None.
        generator: Generator of all that is drawn.

    Returns:
        Images (B, 3, S, S) float in [0, 1] and the moved classes.
    """
    number, _, size, _ = images.shape
    reach = size // 16
    shift = torch.randint(-reach, reach + 1, (2, number, 1), generator=generator)
    mirror = torch.rand(number, 1, generator=generator) < .5
    place = torch.arange(size)
    rows = (place + shift[0]).clamp(0, size - 1)[:, :, None]
    columns = (torch.where(mirror, size - 1 - place, place) + shift[1]).clamp(0, size - 1)[:, None]
    index = torch.arange(number)[:, None, None]
    moved = images.permute(0, 2, 3, 1)[index, rows, columns].permute(0, 3, 1, 2).float() / 255

    def around_zero(channels: int, width: float) -> Tensor:
        return width * (torch.rand(number, channels, 1, 1, generator=generator) - .5)

    pixels = moved * (1 + around_zero(1, .25)) * (1 + around_zero(3, .1)) + around_zero(1, .1)
    if parsing is not None:
        parsing = parsing[index, rows, columns].long()
        parsing = torch.where(mirror[:, :, None], torch.tensor(_MIRRORED)[parsing], parsing)
    return pixels.clamp(0, 1), parsing


def _caption_batch(facts: Sequence[dict[str, str]], num_scenes: int,
                   rng: np.random.Generator) -> tuple[tuple[str, ...], Tensor]:
    """A caption for every second person and one for the scenes, and whom they are true of."""
    captions: dict[str, Caption] = {}
    for person in facts[::2]:
        caption = compose_caption(person, rng)
        captions.setdefault(caption.text, caption)
    holds = [[caption.holds(person) for person in facts] + [False] * num_scenes
             for caption in captions.values()]
    holds.append([False] * len(facts) + [True] * num_scenes)
    scene = SCENE_CAPTIONS[rng.integers(len(SCENE_CAPTIONS))]
    return (*captions, scene), torch.tensor(holds).T


def batches(people: PeopleTable, num_parts: int, batch_size: int, seed: int) -> Iterator[Batch]:
    """Endless batches on the CPU, the same for the same seed.

    Each has ``batch_size`` people, an eighth as many empty scenes, and up to half as many
    regions: one in two exact parts, one in two token clusters.
    """
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    quarter, num_scenes = batch_size // 4, batch_size // 8
    sources = torch.arange(2 * quarter)
    while True:
        order = torch.randperm(len(people), generator=generator)
        for rows in order[:len(order) // batch_size * batch_size].split(batch_size):
            images, parsing = augment(people.images[rows], people.parsing[rows], generator)
            some = torch.randint(len(people.scenes), (num_scenes,), generator=generator)
            scenes, _ = augment(people.scenes[some], None, generator)
            parts = part_labels(parsing[sources])
            masks = torch.cat([
                draw_exact_regions(parts[:quarter], num_parts, generator),
                draw_token_clusters(images[sources[quarter:]], parts[quarter:], num_parts,
                                    generator)])
            shares = part_shares(masks, parts, num_parts)
            there = shares.sum(1) > 0
            captions, holds = _caption_batch(
                [people.facts[row] for row in rows.tolist()], num_scenes, rng)
            yield Batch(
                people=images, scenes=scenes,
                regions=images[sources[there]] * masks[there][:, None], parsing=parsing,
                attributes=people.attributes[rows], shares=shares[there],
                captions=captions, holds=holds)

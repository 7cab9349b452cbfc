"""Pictures of pseudo-labels: regions, names and probabilities, on one page."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

import cv2
import numpy as np

from clasp_mm.pseudo_labels.labels import PseudoLabels
from clasp_mm.pseudo_labels.vocabulary import IGNORE, Vocabulary

from .pages import write_page

# Distinct hues for parts, in the default vocabulary's order, then for any more; RGB.
PART_COLOURS = np.array([
    (214, 39, 40), (140, 86, 75), (255, 187, 120), (31, 119, 180), (255, 127, 14), (44, 160, 44),
    (227, 119, 194), (188, 189, 34), (148, 103, 189), (23, 190, 207), (127, 127, 127),
    (199, 199, 199), (174, 199, 232), (152, 223, 138), (255, 152, 150)], np.uint8)
_MAX_ASPECT = 4  # width by height of a picture
_IGNORED = np.array((90, 90, 90), np.uint8)


@dataclass
class Example:
    """One image of a page.

    Args:
        name: Its name.
        image: (H, W, 3) uint8 RGB.
        labels: Its labels, B = 1.
        part_probs: Probabilities of the regions, (T, P).
        attr_probs: Of the values of each attribute, each (V_a,).
        accepted: Whether it passed both filters.
        truth: True part labels, (H, W) uint8, if known.
        attributes: True value of each attribute by name, if known.
        group: Heading under which it stands on a page, with its neighbours of the same one.
    """

    name: str
    image: np.ndarray
    labels: PseudoLabels
    part_probs: np.ndarray
    attr_probs: Sequence[np.ndarray]
    accepted: bool
    truth: np.ndarray | None = None
    attributes: Mapping[str, str] | None = None
    group: str = 'Examples'


def paint_parts(image: np.ndarray, parts: np.ndarray, alpha: float = 0.65) -> np.ndarray:
    """Lay part labels over an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        parts: (h, w) uint8 labels, brought to the image's size by nearest.
        alpha: Weight of the colours.

    Returns:
        (H, W, 3) uint8; background darkened, ignored tokens gray.
    """
    parts = cv2.resize(parts, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    colours = np.tile(_IGNORED, (256, 1))
    colours[1:IGNORE] = PART_COLOURS[np.arange(IGNORE - 1) % len(PART_COLOURS)]
    painted = alpha * colours[parts] + (1 - alpha) * image
    painted[parts == 0] = 0.35 * image[parts == 0]
    return painted.astype(np.uint8)


def outline_regions(image: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Draw borders and numbers of regions (h, w), uint8, 0 background, on (H, W, 3) uint8 RGB."""
    size = image.shape[1::-1]
    full = cv2.resize(regions, size, interpolation=cv2.INTER_NEAREST_EXACT)
    border = np.zeros(full.shape, bool)
    border[:, 1:] |= full[:, 1:] != full[:, :-1]
    border[1:] |= full[1:] != full[:-1]
    out = image.copy()
    out[full == 0] = out[full == 0] // 3
    out[border] = (255, 255, 0)
    for region in np.unique(full[full > 0]):
        inside = cv2.distanceTransform(
            np.pad((full == region).astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = np.unravel_index(inside.argmax(), inside.shape)
        scale = image.shape[0] / 500
        for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.putText(out, str(region), (int(x - 9 * scale), int(y + 9 * scale)),
                        cv2.FONT_HERSHEY_SIMPLEX, scale, colour, width, cv2.LINE_AA)
    return out


def draw_example(example: Example, grid: tuple[int, int], cluster_numbers: Sequence[int],
                 height: int = 320) -> np.ndarray:
    """Image, truth if known, then regions and part labels for each k, side by side.

    Returns:
        (height, W, 3) uint8 RGB; of a strip wider than ``_MAX_ASPECT`` heights, less high.
    """
    zoom = min(height / example.image.shape[0], _MAX_ASPECT * height / example.image.shape[1])
    size = [max(1, round(side * zoom)) for side in example.image.shape[1::-1]]
    image = cv2.resize(example.image, size, interpolation=cv2.INTER_CUBIC)
    panels = [image]
    if example.truth is not None:
        panels.append(paint_parts(image, example.truth))
    for which in range(len(cluster_numbers)):
        regions = example.labels.regions[0, which].reshape(grid)
        parts = example.labels.part_maps(cluster_numbers, which)[0].reshape(grid)
        panels += [outline_regions(image, regions), paint_parts(image, parts)]
    gap = np.full((size[1], 6, 3), 255, np.uint8)
    return np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=1)


def part_legend(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Name and colour, as CSS has it, of each part in :func:`paint_parts`."""
    return [(name, f'rgb{tuple(PART_COLOURS[i % len(PART_COLOURS)].tolist())}')
            for i, name in enumerate(vocabulary.part_names)]


def write_label_page(path: str | os.PathLike, data: str, examples: Sequence[Example],
                     vocabulary: Vocabulary, grid: tuple[int, int],
                     cluster_numbers: Sequence[int], result: Mapping[str, Any]) -> None:
    """Write one HTML page that needs no other file.

    Args:
        path: The page.
        data: What the images are.
        examples: The images to show.
        vocabulary: Names of parts and attributes.
        grid: (h, w) of the tokens.
        cluster_numbers: The k of the labels.
        result: What :func:`~clasp_mm.labelling.report.report_labels` gives.
    """
    ks = [f'k = {k}' for k in cluster_numbers]
    write_page(
        path, 'labels', 'CLIP pseudo-labels', model=f'{result["clip"]}, {result["teacher"]}',
        data=data, result=result, ks=ks, truths=[f'{k}, named by the truth' for k in ks],
        tenths=[f'0.{i}-{(i + 1) / 10}' for i in range(10)],
        with_truth=any(example.truth is not None for example in examples),
        legend=[*part_legend(vocabulary), ('ignored', f'rgb{tuple(_IGNORED.tolist())}')],
        groups=[(group, [(example, draw_example(example, grid, cluster_numbers),
                          _regions(example, vocabulary, cluster_numbers),
                          _attributes(example, vocabulary)) for example in members])
                for group, members in groupby(examples, attrgetter('group'))])


def _regions(example: Example, vocabulary: Vocabulary, cluster_numbers: Sequence[int]) -> list:
    """For each k the numbers of the regions, each with its three best parts."""
    found, start = [], 0
    for k in cluster_numbers:
        rows = []
        for region in range(k):
            if example.labels.region_label[0, start + region]:
                probs = example.part_probs[start + region]
                best = np.argsort(-probs, kind='stable')[:3]
                rows.append((region + 1, [(vocabulary.part_names[i], probs[i]) for i in best]))
        found.append((f'k = {k}', rows))
        start += k
    return found


def _attributes(example: Example, vocabulary: Vocabulary) -> list:
    """Name, values with their probabilities, and whether the best is right."""
    rows = []
    for attribute, probs in zip(vocabulary.attributes, example.attr_probs, strict=True):
        true = (example.attributes or {}).get(attribute.name)
        right = true == attribute.values[int(np.argmax(probs))]
        rows.append((attribute.name, list(zip(attribute.values, probs, strict=True)),
                     '' if true is None else 'right' if right else f'wrong: {true}'))
    return rows

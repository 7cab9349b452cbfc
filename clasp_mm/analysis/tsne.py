"""t-SNE of whole and part features under each prompt (CLASP, Fig. 6)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from torch import nn
from torch.nn import functional as F

from clasp_mm.datasets.inputs import batches
from clasp_mm.evaluation.frozen.people import read_parts
from clasp_mm.models.layers import TASKS
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY
from clasp_mm.synthetic import GroundTruth
from clasp_mm.utils.tables import markdown_table, number_or_dash

PART_NAMES = DEFAULT_VOCABULARY.part_names
NEIGHBOURS = 5


def part_means(maps: torch.Tensor, parts: torch.Tensor, num_parts: int) -> torch.Tensor:
    """Mean feature of each part of each image.

    Args:
        maps: (B, C, h, w).
        parts: (B, H, W), 0 is the background and others 1 to ``num_parts``; a cell of the map
            counts for a part by the share of the cell's pixels that are the part's.
        num_parts: P.

    Returns:
        (B, P, C); NaN where an image does not show the part.
    """
    masks = F.one_hot(parts.long(), num_parts + 1)[..., 1:].permute(0, 3, 1, 2).to(maps.dtype)
    weights = F.adaptive_avg_pool2d(masks, maps.shape[-2:]).flatten(2)            # (B, P, hw)
    return weights @ maps.flatten(2).transpose(1, 2) / weights.sum(2, keepdim=True)


@torch.inference_mode()
def gather_features(backbone: nn.Module, truth: GroundTruth, index: np.ndarray,
                    size: tuple[int, int]) -> dict[str, dict[str, np.ndarray]]:
    """Features of the images ``index`` (N,) of synthetic people under each prompt.

    Returns:
        Prompt -> ``whole`` (N, C), the pooled last map, and ``part`` (N, P, c), of the first.
    """
    device = next(backbone.parameters()).device
    found: dict[str, dict[str, list]] = {task: dict(whole=[], part=[]) for task in TASKS}
    start = 0
    for images in batches([str(truth.root / truth.names[i]) for i in index], size, backbone):
        chosen = index[start:start + len(images)]
        start += len(images)
        parts = torch.from_numpy(read_parts(truth, chosen)).to(device)
        for task, features in found.items():
            maps = backbone(images, task)
            features['whole'].append(maps[-1].mean((2, 3)).cpu().numpy())
            features['part'].append(part_means(maps[0], parts, len(PART_NAMES)).cpu().numpy())
    return {task: {name: np.concatenate(values) for name, values in features.items()}
            for task, features in found.items()}


def embed_2d(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """t-SNE by cosine distance of (N, C), (N, 2), of perplexity 30, at most (N - 1) / 3."""
    return TSNE(2, perplexity=min(30., (len(features) - 1) / 3), metric='cosine',
                init='random', random_state=seed).fit_transform(features)


def neighbour_agreement(points: np.ndarray, labels: np.ndarray, k: int = NEIGHBOURS) -> float:
    """Share of the k nearest neighbours of the points that have the point's label.

    Args:
        points: (N, D), N > k.
        labels: (N,).
        k: Neighbours of each point, itself not among them.

    Returns:
        0 to 1; points at random give about the sum of the squared shares of the labels.
    """
    near = NearestNeighbors(n_neighbors=k).fit(points).kneighbors(return_distance=False)
    return float((labels[near] == labels[:, None]).mean())


def tsne_figures(backbone: nn.Module, truth: GroundTruth, size: tuple[int, int], people: int = 12,
                 seed: int = 0) -> dict[str, dict[str, Any]]:
    """Points and their labels, of whole images and of parts.

    Args:
        backbone: Backbone in evaluation mode.
        truth: Synthetic people.
        size: (H, W) of the input.
        people: Identities that are drawn at most, evenly taken from all.
        seed: Seed of t-SNE and of the draw of part features, three an image.

    Returns:
        ``whole`` and ``part``, each with ``points`` (prompt -> (N, 2)), ``labels`` (colouring ->
        (N,) names) and ``agreement`` (prompt -> colouring -> share of the 5 nearest
        neighbours in the picture that have the same label).

    Raises:
        ValueError: The backbone has no PC-MoE, there are fewer than two people, or they have
            too few images.
    """
    if not backbone.has_moe:
        raise ValueError('the backbone has no PC-MoE, and so no prompts to compare')
    known = np.unique(truth.identity)
    people = min(people, len(known))
    if people < 2:
        raise ValueError(f'at least two people are to be compared: {len(known)} are there, and '
                         f'{people} to be drawn')
    chosen = known[np.linspace(0, len(known) - 1, people).round().astype(int)]
    index = np.flatnonzero(np.isin(truth.identity, chosen))
    if len(index) <= NEIGHBOURS:
        raise ValueError(f'{people} people have {len(index)} images, more than {NEIGHBOURS} are '
                         'needed: draw more people')
    labels: dict[str, np.ndarray] = dict(identity=np.char.mod('%03d', truth.identity[index]))
    for name in ('gender', 'viewpoint'):
        at = DEFAULT_VOCABULARY.attribute_names.index(name)
        values = np.asarray(DEFAULT_VOCABULARY.attributes[at].values)
        labels[name] = values[truth.attributes[index, at]]
    features = gather_features(backbone, truth, index, size)
    seen = ~np.isnan(next(iter(features.values()))['part'][..., 0])                  # (N, P)
    image, part = np.nonzero(seen)
    drawn = np.random.default_rng(seed).permutation(len(image))[:len(index) * 3]
    image, part = image[drawn], part[drawn]
    part_labels = dict(part=np.asarray(PART_NAMES)[part],
                       **{name: values[image] for name, values in labels.items()})
    return dict(
        whole=_figure({task: f['whole'] for task, f in features.items()}, labels, seed),
        part=_figure({task: f['part'][image, part] for task, f in features.items()}, part_labels,
                     seed))


def agreement_table(agreement: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Agreement of neighbours in Markdown: figure -> prompt -> colouring -> share."""
    labels = list(dict.fromkeys(name for prompts in agreement.values()
                                for shares in prompts.values() for name in shares))
    return markdown_table(['features', 'prompt', *(f'same {name}' for name in labels)], [
        [figure, prompt, *(number_or_dash(shares.get(name)) for name in labels)]
        for figure, prompts in agreement.items() for prompt, shares in prompts.items()])


def _figure(features: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray],
            seed: int) -> dict[str, Any]:
    points, agreement = {}, {}
    for task, values in features.items():
        points[task] = embed_2d(values, seed)
        agreement[task] = {name: neighbour_agreement(points[task], own)
                           for name, own in labels.items()}
    return dict(points=points, labels=labels, agreement=agreement)

"""Foreground and part regions by clustering teacher tokens, for a whole batch at once.

Nothing here makes the host wait for a GPU.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .clustering import kmeans
from .transfer import upload

FOREGROUND_RULES = ('norm', 'feature', 'centre')
BROKEN = 255  # region number of an image whose features are not finite
_CENTRE_CLUSTERS = 12


def split_norms(norms: Tensor) -> Tensor:
    """Exact 2-means of scalars: the split of the sorted values with least inertia.

    Args:
        norms: (B, L).

    Returns:
        (B, L) bool, True for the cluster of larger values; all False where all values are equal.
    """
    values, order = norms.double().sort(dim=1)
    length = values.shape[1]
    if length < 2:
        return torch.zeros_like(norms, dtype=torch.bool)
    values = values - values.mean(dim=1, keepdim=True)
    left_sum = values.cumsum(dim=1)[:, :-1]
    left_count = torch.arange(1, length, device=norms.device, dtype=values.dtype)
    # Between-cluster inertia of the split after each position; the values sum to zero.
    between = left_sum.square() * (1 / left_count + 1 / (length - left_count))
    # Equal values stay together.
    between = between.masked_fill(values[:, 1:] == values[:, :-1], -1)
    gain, split = between.max(dim=1)
    upper = torch.arange(length, device=norms.device) > split[:, None]
    upper &= (gain > 0)[:, None]
    return torch.zeros_like(upper).scatter(1, order, upper)


def _positions(grid: tuple[int, int]) -> np.ndarray:
    """Rows and columns of the tokens from the centre, in [-0.5, 0.5], (L, 2) float32."""
    rows, columns = ((np.arange(count, dtype=np.float32) + 0.5) / count - 0.5 for count in grid)
    return np.stack(np.meshgrid(rows, columns, indexing='ij'), axis=-1).reshape(-1, 2)


def _centre_weights(grid: tuple[int, int]) -> np.ndarray:
    """Nearness of each token to the upright axis of the crop, 1 there and 0 at the border, (L,)."""
    row, column = np.abs(2 * _positions(grid)).T
    return (1 - column) * (1 - row ** 4)


def _border(grid: tuple[int, int]) -> np.ndarray:
    """1 for the tokens on the border of the crop, (L,) float32."""
    border = np.ones(grid, np.float32)
    border[1:-1, 1:-1] = 0
    return border.ravel()


def foreground_mask(tokens: Tensor, grid: tuple[int, int], rule: str,
                    keys: np.ndarray) -> Tensor:
    """Which tokens show the person.

    ``norm``: 2-means of the L2 norms, the larger ones, as SOLIDER does. ``feature``: 2-means of
    the vectors, the cluster that is less dense on the image's border (on a tie, of larger mean
    norm). ``centre`` (ours): 12-means of the vectors, every cluster whose tokens lie nearer
    the crop's upright axis than tokens do on average; for teachers whose features tell many
    things apart better than person from background.

    Args:
        tokens: (B, L, D) with L = h * w, row by row.
        grid: (h, w).
        rule: One of ``FOREGROUND_RULES``.
        keys: (B,) uint64, seeds of the images.

    Returns:
        (B, L) bool; all False where all tokens (or norms) are equal.

    Raises:
        ValueError: For an unknown rule.
    """
    if rule == 'norm':
        return split_norms(tokens.float().norm(dim=-1))
    if rule not in FOREGROUND_RULES:
        raise ValueError(f'foreground rule {rule!r} is none of {FOREGROUND_RULES}')
    clusters = 2 if rule == 'feature' else _CENTRE_CLUSTERS
    labels = kmeans(tokens, None, (clusters,), keys, stream=1)[0][:, 0]       # (B, L)
    member = (labels[..., None] == torch.arange(clusters, device=labels.device)).float()
    count = member.sum(dim=1)                                                 # (B, k)
    several = ((count > 0).sum(dim=1) > 1)[:, None]
    if rule == 'centre':
        weights = _centre_weights(grid)
        weights = upload(weights - weights.mean(), tokens.device)
        person = (member * weights[:, None]).sum(dim=1) > 0
    else:
        border = upload(_border(grid), tokens.device)
        density = (member * border[:, None]).sum(dim=1) / count.clamp_min(1)
        norms = tokens.float().norm(dim=-1, keepdim=True)
        mean_norm = (member * norms).sum(dim=1) / count.clamp_min(1)
        person = ((density < density.flip(1))
                  | ((density == density.flip(1)) & (mean_norm > mean_norm.flip(1))))
    return person.gather(1, labels) & several


def find_regions(features: Tensor, cluster_numbers: Sequence[int], keys: np.ndarray,
                 foreground: str = 'norm', position_weight: float = 0.0) -> Tensor:
    """Foreground, then its regions for each k, of teacher feature maps.

    Args:
        features: Teacher maps, (B, C, h, w).
        cluster_numbers: The S values of k.
        keys: (B,) uint64, seeds of the images.
        foreground: Rule of :func:`foreground_mask`.
        position_weight: Part clustering sees each token's place beside its feature, with this
            ratio of their standard deviations.

    Returns:
        Region number of each token, (B, S, h * w) uint8: 0 background, 1..k foreground regions,
        numbered from top to bottom by their mean row. Numbers of clusters that stayed empty come
        last. Where there is no foreground, all is 0; where the image's features are not finite,
        all is ``BROKEN``.
    """
    batch, _, height, width = features.shape
    tokens = features.flatten(2).mT.contiguous()
    broken = ~(tokens.sum(dim=(1, 2)).abs() < float('inf'))
    tokens = tokens.masked_fill(broken[:, None, None], 0)
    person = foreground_mask(tokens, (height, width), foreground, keys)
    if position_weight:
        # Pixels are square and crops twice as high as wide.
        places = _positions((height, width)) * np.array([2, 1], np.float32)
        places = upload(places / np.sqrt((places ** 2).sum(axis=1).mean()), features.device)
        spread = tokens.var(dim=1, correction=0).sum(dim=1).sqrt()[:, None, None]
        tokens = torch.cat([tokens, places * (position_weight * spread)], dim=2)
    labels, _ = kmeans(tokens, person, cluster_numbers, keys)
    most = max(cluster_numbers)
    rows = upload(np.repeat(np.arange(height, dtype=np.float32), width), features.device)
    index = labels.clamp_min(0)
    inside = (labels >= 0).float()
    shape = (batch, len(cluster_numbers), most)
    count = inside.new_zeros(shape).scatter_add_(2, index, inside)
    row_sum = inside.new_zeros(shape).scatter_add_(2, index, inside * rows)
    mean_row = (row_sum / count.clamp_min(1)).masked_fill_(count == 0, float('inf'))
    rank = mean_row.argsort(dim=2, stable=True).argsort(dim=2)
    regions = ((rank.gather(2, index) + 1) * (labels >= 0)).to(torch.uint8)
    return regions.masked_fill_(broken[:, None, None], BROKEN)

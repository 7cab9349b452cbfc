"""Foreground and part regions by clustering teacher tokens, for a whole batch at once.

Clustering works on each image's Gram matrix of centred tokens: with the assignment matrix A
(clusters x tokens, rows divided by the cluster's size), ``A G`` holds the inner products of every
centre with every token, so one batched product per Lloyd step serves all images, all restarts and
all cluster numbers. Draws are a hash of the image's key, so that an image's regions do not depend
on the rest of its batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .hashing import uniforms

FOREGROUND_RULES = ('norm', 'feature', 'centre')
MAX_CLUSTERS = 15

# Restarts are cut to the best few after a few Lloyd steps: that saves about a third of the time
# and costs 0.1 to 0.3 % of inertia (mean over random and clustered tokens, 10 restarts).
_PRUNE_AFTER, _PRUNE_TO = 2, 3
_TRIALS = 3              # candidates per seed of greedy k-means++, 2 + floor(ln k) for k = 3..7
_CENTRE_CLUSTERS = 12
_BUCKETS = 4             # token counts are padded to one of four lengths
_CHUNK_ELEMENTS = {'cpu': 2**19, 'cuda': 2**26}


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


def _draw(weights: Tensor, uniform: Tensor) -> Tensor:
    """Indices drawn in proportion to weights (..., L) by uniforms (..., T); returns (..., T)."""
    cumulative = weights.cumsum(dim=-1)
    target = uniform * cumulative[..., -1:]
    index = torch.searchsorted(cumulative, target, right=True)
    return index.clamp_max_(weights.shape[-1] - 1)


def _seed(sq_dists: Tensor, weights: Tensor, draws: Tensor, cluster_numbers: Sequence[int],
          num_init: int) -> Tensor:
    """Greedy k-means++ (Arthur and Vassilvitskii, 2007).

    The first k seeds serve cluster number k, so one run serves all cluster numbers.

    Args:
        sq_dists: Squared distances between tokens, columns of padding zero, (B, L, L).
        weights: 1 for tokens, 0 for padding, (B, L).
        draws: Uniforms, (B, num_init * (1 + (max(k) - 1) * _TRIALS)).
        cluster_numbers: Values of k.
        num_init: Restarts R.

    Returns:
        First assignment, (B, S, R, L) float, -1 for padding.
    """
    batch, length = weights.shape
    images = torch.arange(batch, device=weights.device)[:, None]
    draws = draws.view(batch, num_init, -1)
    first = _draw(weights[:, None].expand(batch, num_init, length).contiguous(), draws[..., :1])
    closest = sq_dists[images, first[..., 0]]                                   # (B, R, L)
    labels = torch.zeros_like(closest)
    assignments = {1: labels}
    for cluster in range(1, max(cluster_numbers)):
        start = 1 + (cluster - 1) * _TRIALS
        tried = _draw(closest, draws[..., start:start + _TRIALS].contiguous())  # (B, R, T)
        rows = sq_dists[images, tried.flatten(1)].view(batch, num_init, _TRIALS, length)
        rows = torch.minimum(rows, closest[:, :, None])
        best = rows.sum(dim=-1).argmin(dim=-1)
        best = best[..., None, None].expand(batch, num_init, 1, length)
        row = rows.gather(2, best)[:, :, 0]
        labels = torch.where(row < closest, float(cluster), labels)
        closest = row
        assignments[cluster + 1] = labels
    stacked = torch.stack([assignments[k] for k in cluster_numbers], dim=1)
    return stacked.masked_fill_(weights[:, None, None] == 0, -1)


def _lloyd(gram: Tensor, padding: Tensor, labels: Tensor, num_clusters: Tensor,
           max_iter: int) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from a first assignment; the best restart of each image and k.

    A cluster that has lost all its tokens takes the token farthest from its own centre.

    Args:
        gram: Inner products of the centred tokens, rows and columns of padding zero, (B, L, L).
        padding: True where there is no token, (B, L).
        labels: First assignment, -1 for padding, (B, S, R, L) float.
        num_clusters: k of each of the S problems, (S,).
        max_iter: Steps at most.

    Returns:
        Labels (B, S, L) float and inertia (B, S).
    """
    batch, num_k, _, length = labels.shape
    device = gram.device
    most = int(num_clusters.max())
    total = torch.diagonal(gram, dim1=1, dim2=2)                              # (B, L)
    final_labels = labels.new_full((batch, num_k, length), -1)
    final_inertia = gram.new_zeros(batch, num_k)
    clusters = torch.arange(most, device=device, dtype=labels.dtype)
    # Tolerance below which a token counts as lying on its centre.
    on_centre = 1e-6 * total.amax(dim=1) if length else total.new_zeros(batch)
    active = torch.arange(batch, device=device)

    for step in range(1, max_iter + 1):
        images, _, restarts, _ = labels.shape
        problems = num_k * restarts
        flat = labels.view(images, 1, problems, length)
        # A comparison into a float tensor is several times as fast as one followed by a cast.
        assign = gram.new_empty(images, most, problems, length)               # (b, K, Q, L)
        torch.eq(flat, clusters[:, None, None], out=assign)
        count = assign.sum(dim=-1)                                            # (b, K, Q)
        assign *= count.clamp_min(1).reciprocal()[..., None]
        inner = (assign.view(images, -1, length) @ gram).view_as(assign)
        centre_sq = (inner * assign).sum(dim=-1)
        scores = torch.sub(
            centre_sq.masked_fill(count == 0, float('inf'))[..., None], inner, alpha=2)
        nearest = scores.amin(dim=1)
        # The first of the nearest centres, by two fast reductions instead of a slow argmin.
        torch.eq(scores, nearest[:, None], out=assign)
        new = most - (assign * (most - clusters)[:, None, None]).amax(dim=1)
        distance = (nearest + total[:, None]).masked_fill_(padding[:, None], -1)
        farthest, token = distance.max(dim=-1)                                # (b, Q)
        empty = (count == 0) & (
            clusters[:, None] < num_clusters.repeat_interleave(restarts))
        refill = empty.any(dim=1) & (farthest > on_centre[:, None])
        first_empty = empty.to(torch.int8).argmax(dim=1).to(new.dtype)
        moved = torch.where(refill, first_empty, new.gather(2, token[..., None])[..., 0])
        new.scatter_(2, token[..., None], moved[..., None])
        new = new.masked_fill_(padding[:, None], -1).view_as(labels)

        inertia = total.sum(dim=1)[:, None] - (centre_sq * count).sum(dim=1)
        inertia = inertia.view(images, num_k, restarts)
        if step == _PRUNE_AFTER and restarts > _PRUNE_TO:
            keep = inertia.topk(_PRUNE_TO, dim=-1, largest=False).indices
            labels = new.gather(2, keep[..., None].expand(*keep.shape, length))
            continue
        done = (new == labels).flatten(1).all(dim=1)
        if step == max_iter:
            done = torch.ones_like(done)
        finished = done.nonzero()[:, 0]
        if len(finished):
            # The inertia is that of the labels the centres were computed from.
            value, best = inertia[finished].min(dim=-1)
            best = best[..., None, None].expand(-1, -1, 1, length)
            final_labels[active[finished]] = labels[finished].gather(2, best)[:, :, 0]
            final_inertia[active[finished]] = value.clamp_min(0)
            if len(finished) == len(active):
                break
            left = (~done).nonzero()[:, 0]
            active, gram, padding, total = active[left], gram[left], padding[left], total[left]
            on_centre, new = on_centre[left], new[left]
        labels = new
    return final_labels, final_inertia


def kmeans(tokens: Tensor, mask: Tensor | None, cluster_numbers: Sequence[int],
           keys: np.ndarray, num_init: int = 10, max_iter: int = 100,
           stream: int = 0) -> tuple[Tensor, Tensor]:
    """K-means of every image's tokens for several cluster numbers at once.

    Args:
        tokens: Token vectors, (B, L, D).
        mask: True for the tokens to cluster, (B, L); None for all.
        cluster_numbers: The S values of k.
        keys: (B,) uint64; an image's result depends on its tokens and its key alone.
        num_init: Restarts.
        max_iter: Lloyd steps at most.
        stream: Number of the use, see :func:`~clasp_mm.pseudo_labels.hashing.uniforms`.

    Returns:
        Labels (B, S, L) int64, -1 outside the mask, else 0..k-1. An image with fewer distinct
        tokens than k has fewer clusters. Inertia (B, S) float32, 0 where the mask is empty.

    Raises:
        ValueError: If a cluster number is not in 1..15 or shapes disagree.
    """
    check_cluster_numbers(cluster_numbers, lowest=1)
    batch, length, _ = tokens.shape
    device = tokens.device
    if mask is None:
        mask = torch.ones(batch, length, dtype=torch.bool, device=device)
    if mask.shape != (batch, length) or len(keys) != batch:
        raise ValueError(f'tokens {tuple(tokens.shape)} need a mask of shape {(batch, length)} '
                         f'and {batch} keys, got {tuple(mask.shape)} and {len(keys)}')
    numbers = torch.tensor(list(cluster_numbers), device=device)
    draws = torch.from_numpy(uniforms(
        keys, num_init * (1 + (max(cluster_numbers) - 1) * _TRIALS), stream)).to(device)
    labels = torch.full((batch, len(numbers), length), -1, dtype=torch.int64, device=device)
    inertia = torch.zeros(batch, len(numbers), device=device)

    # Masked tokens come first and the rest is cut off, at a length that the image alone decides.
    order = mask.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    count = mask.sum(dim=1)
    unit = max(1, -(-length // _BUCKETS))
    bucket = (count + unit - 1).div(unit, rounding_mode='floor')
    for size in bucket.unique().tolist():
        if size == 0:
            continue
        cut = min(size * unit, length)
        members = (bucket == size).nonzero()[:, 0]
        problems = num_init * len(numbers) * max(cluster_numbers)
        chunk = max(1, _CHUNK_ELEMENTS.get(device.type, 2**24) // (cut * max(problems, cut)))
        for images in members.split(chunk):
            kept = order[images, :cut]
            present = torch.arange(cut, device=device) < count[images, None]
            weights = present.to(torch.float32)
            points = tokens[images[:, None], kept].float() * weights[..., None]
            points = points - points.sum(dim=1, keepdim=True) / count[images, None, None]
            points = points * weights[..., None]
            gram = points @ points.mT
            sq = torch.diagonal(gram, dim1=1, dim2=2)
            sq_dists = torch.add(sq[:, :, None] + sq[:, None], gram, alpha=-2).clamp_min_(0)
            sq_dists *= weights[:, None]
            first = _seed(sq_dists, weights, draws[images], cluster_numbers, num_init)
            found, value = _lloyd(gram, ~present, first, numbers, max_iter)
            scattered = torch.full((len(images), len(numbers), length), -1, device=device)
            scattered.scatter_(
                2, kept[:, None].expand(-1, len(numbers), -1), found.to(torch.int64))
            labels[images] = scattered
            inertia[images] = value
    return labels, inertia


def check_cluster_numbers(cluster_numbers: Sequence[int], lowest: int = 2) -> None:
    """Raise ValueError unless there is a value and each is an int in lowest..15, none twice."""
    bad = [k for k in cluster_numbers if not isinstance(k, int) or not lowest <= k <= MAX_CLUSTERS]
    if bad or not cluster_numbers or len(set(cluster_numbers)) < len(cluster_numbers):
        raise ValueError(f'cluster numbers must be different integers from {lowest} to '
                         f'{MAX_CLUSTERS}, got {tuple(cluster_numbers)}')


def _positions(grid: tuple[int, int], device: torch.device) -> Tensor:
    """Rows and columns of the tokens from the centre, in [-0.5, 0.5], (L, 2)."""
    rows, columns = (
        (torch.arange(count, device=device) + 0.5) / count - 0.5 for count in grid)
    return torch.cartesian_prod(rows, columns)


def _centre_weights(grid: tuple[int, int], device: torch.device) -> Tensor:
    """Nearness of each token to the upright axis of the crop, 1 there and 0 at the border, (L,)."""
    row, column = (2 * _positions(grid, device)).abs().unbind(dim=1)
    return (1 - column) * (1 - row ** 4)


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
    norms = tokens.float().norm(dim=-1)
    if rule == 'norm':
        return split_norms(norms)
    if rule not in FOREGROUND_RULES:
        raise ValueError(f'foreground rule {rule!r} is none of {FOREGROUND_RULES}')
    clusters = 2 if rule == 'feature' else _CENTRE_CLUSTERS
    labels = kmeans(tokens, None, (clusters,), keys, stream=1)[0][:, 0]       # (B, L)
    member = (labels[..., None] == torch.arange(clusters, device=labels.device)).float()
    count = member.sum(dim=1)                                                 # (B, k)
    several = ((count > 0).sum(dim=1) > 1)[:, None]
    if rule == 'centre':
        weights = _centre_weights(grid, tokens.device)
        mean_weight = (member * weights[:, None]).sum(dim=1) / count.clamp_min(1)
        person = mean_weight > weights.mean()
    else:
        border = torch.zeros(grid, dtype=torch.bool, device=tokens.device)
        border[[0, -1]] = True
        border[:, [0, -1]] = True
        density = (member * border.flatten()[:, None]).sum(dim=1) / count.clamp_min(1)
        mean_norm = (member * norms[..., None]).sum(dim=1) / count.clamp_min(1)
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
        last. Where there is no foreground, all is 0.

    Raises:
        ValueError: If features are not finite.
    """
    batch, _, height, width = features.shape
    tokens = features.flatten(2).mT.contiguous()
    if not bool(torch.isfinite(tokens.sum(dim=-1)).all()):
        raise ValueError('the teacher gives features that are not finite; its weights are broken '
                         'or its half precision overflows')
    person = foreground_mask(tokens, (height, width), foreground, keys)
    if position_weight:
        # Pixels are square and crops twice as high as wide.
        places = _positions((height, width), features.device) * features.new_tensor([2.0, 1.0])
        centred = tokens - tokens.mean(dim=1, keepdim=True)
        spread = centred.square().sum(dim=2).mean(dim=1).sqrt()[:, None, None]
        scale = position_weight * spread / places.square().sum(dim=1).mean().sqrt()
        tokens = torch.cat([tokens, places * scale], dim=2)
    labels, _ = kmeans(tokens, person, cluster_numbers, keys)
    most = max(cluster_numbers)
    rows = torch.arange(height, device=features.device).repeat_interleave(width).float()
    index = labels.clamp_min(0)
    inside = (labels >= 0).float()
    shape = (batch, len(cluster_numbers), most)
    count = inside.new_zeros(shape).scatter_add_(2, index, inside)
    row_sum = inside.new_zeros(shape).scatter_add_(2, index, inside * rows)
    mean_row = (row_sum / count.clamp_min(1)).masked_fill_(count == 0, float('inf'))
    rank = mean_row.argsort(dim=2, stable=True).argsort(dim=2)
    return ((rank.gather(2, index) + 1) * (labels >= 0)).to(torch.uint8)

"""K-means of every image's tokens, for a whole batch at once.

Clustering works on each image's Gram matrix of centred tokens: with the assignment matrix A
(clusters x tokens), ``A G`` holds the inner products of every cluster's sum with every token, so
one batched product per Lloyd step serves all images, all restarts and all cluster numbers. Draws
are a hash of the image's key, so that an image's clusters do not depend on the rest of its batch.

Nothing here makes the host wait for a GPU.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .hashing import uniforms
from .transfer import upload

MAX_CLUSTERS = 15
# Restarts are cut to the best few after a few Lloyd steps: that saves about a third of the time
# and costs 0.1 to 0.3 % of inertia (mean over random and clustered tokens, 10 restarts).
_PRUNE_AFTER, _PRUNE_TO = 2, 3
# Lloyd steps: the cap costs up to 5e-5 of inertia in the mean of teacher tokens, and 2.8e-3 for
# the worst image.
MAX_STEPS = 18
_TRIALS = 3              # candidates per seed of greedy k-means++, 2 + floor(ln k) for k = 3..7
# An empty cluster counts as `_FEW` tokens whose sum has the square `_LOST`: that takes it out of
# every token's reach, and for other sizes is nothing next to rounding.
_FEW, _LOST = 2e-38, 1e-20
_LENGTHS = 4             # to which the tokens of images are padded on a CPU


@dataclass(frozen=True)
class _Way:
    """How a device clusters; the regions are the same.

    Args:
        launches: Every operator is a launch and every look at a value a wait: fixed steps of few
            operators. Else converged images leave, the host looks to which of a few lengths an
            image's tokens are padded, and reductions that are fast on a CPU replace an ``argmin``
            and inner products that are not.
        elements: Size of the largest tensor, by which images are cut into chunks.
    """

    launches: bool
    elements: int


_WAYS = dict(cpu=_Way(launches=False, elements=2**19), cuda=_Way(launches=True, elements=2**26))


def way_of(device: torch.device) -> _Way:
    """How a device clusters."""
    return _WAYS.get(device.type, _WAYS['cuda'])


@contextmanager
def _exact_products() -> Iterator[None]:
    """Matrix products of float32 without TF32, whatever the program has chosen."""
    chosen = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('highest')
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(chosen)


def _draw(weights: Tensor, uniform: Tensor) -> Tensor:
    """Indices drawn in proportion to weights (..., L) by uniforms (..., T); returns (..., T)."""
    cumulative = weights.cumsum(dim=-1)
    return torch.searchsorted(cumulative, uniform * cumulative[..., -1:])


def _seed(sq_dists: Tensor, weights: Tensor, draws: Tensor, cluster_numbers: Sequence[int],
          num_init: int) -> Tensor:
    """Greedy k-means++ (Arthur and Vassilvitskii, 2007): a first assignment, (B, S, R, L) float.

    The first k seeds serve cluster number k, so one run serves all. Columns of padding are zero in
    the squared distances (B, L, L); draws are (B, R * (1 + (max(k) - 1) * _TRIALS)) uniforms.
    """
    batch, length = weights.shape
    images = torch.arange(batch, device=weights.device)[:, None]
    draws = draws.view(batch, num_init, -1)
    trials = draws[..., 1:].unflatten(2, (-1, _TRIALS)).movedim(2, 0).contiguous()
    first = _draw(weights[:, None].expand(batch, num_init, length).contiguous(),
                  draws[..., :1].contiguous())
    closest = [sq_dists[images, first[..., 0]]]                             # each (B, R, L)
    for uniform in trials:
        tried = _draw(closest[-1], uniform)                                     # (B, R, T)
        rows = sq_dists[images, tried.flatten(1)].view(batch, num_init, _TRIALS, length)
        rows = torch.minimum(rows, closest[-1][:, :, None])
        best = rows.sum(dim=-1).argmin(dim=-1)
        best = best[..., None, None].expand(batch, num_init, 1, length)
        closest.append(rows.gather(2, best)[:, :, 0])
    # A token belongs to the last seed that is nearer than all before it.
    stacked = torch.stack(closest, dim=1)
    seeds = torch.arange(len(closest), device=weights.device, dtype=weights.dtype)
    nearer = (stacked[:, 1:] < stacked[:, :-1]) * seeds[1:, None, None]
    return torch.stack([nearer[:, :k - 1].amax(dim=1) if k > 1 else torch.zeros_like(closest[0])
                        for k in cluster_numbers], dim=1)


def _nearest(scores: Tensor, scratch: Tensor, way: _Way) -> Tensor:
    """The first of the nearest clusters, (b, K, Q, L) -> (b, Q, L)."""
    if way.launches:
        return scores.argmin(dim=1)
    most = scores.shape[1]
    torch.eq(scores, scores.amin(dim=1, keepdim=True), out=scratch)
    codes = torch.arange(most, 0, -1, device=scores.device, dtype=scores.dtype)
    return most - (scratch * codes[:, None, None]).amax(dim=1)


def _sums(assign: Tensor, gram: Tensor, weights: Tensor, few: Tensor, lost: Tensor,
          way: _Way) -> tuple[Tensor, ...]:
    """Clusters of an assignment (b, K, Q, L) of 0 and 1, the padding's columns anything."""
    images, most, problems, length = assign.shape
    rows = assign.view(images, -1, length)
    inner = torch.bmm(rows, gram).view_as(assign)
    if way.launches:
        size = torch.baddbmm(few, rows, weights[..., None]).view(images, most, problems)
        inner /= size[..., None]
        square = torch.baddbmm(lost, inner.view(-1, 1, length), assign.view(-1, length, 1))
        return size, inner, square.view_as(size)
    size = (assign * weights[:, None, None]).sum(dim=-1) + few
    inner *= size.reciprocal()[..., None]
    return size, inner, (inner * assign).sum(dim=-1) + lost


def _lloyd(gram: Tensor, weights: Tensor, labels: Tensor, most: int,
           max_iter: int) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from a first assignment; the best restart of each image and k.

    A cluster that loses all its tokens stays empty; its restart explains less and another wins.
    From inner products of centred tokens (B, L, L), zero for padding, and labels (B, S, R, L),
    anything for padding, to labels (B, S, L) and inertia (B, S). The last step only measures.
    """
    way = way_of(gram.device)
    batch, num_k, _, length = labels.shape
    total = torch.diagonal(gram, dim1=1, dim2=2).sum(dim=1)                   # (B,)
    clusters = torch.arange(most, device=gram.device, dtype=labels.dtype)[:, None, None]
    few, lost = gram.new_full((1, 1, 1), _FEW), gram.new_full((1, 1, 1), _LOST)
    found, gains = labels.new_empty(batch, num_k, length), total.new_empty(batch, num_k)
    active = torch.arange(batch, device=gram.device)
    for step in range(1, max_iter + 1):
        images, _, restarts, _ = labels.shape
        problems = num_k * restarts
        # A comparison into a float tensor is several times as fast as one followed by a cast.
        assign = gram.new_empty(images, most, problems, length)               # (b, K, Q, L)
        torch.eq(labels.view(images, 1, problems, length), clusters, out=assign)
        size, inner, square = _sums(assign, gram, weights, few, lost, way)
        scores = torch.sub((square / size)[..., None], inner, alpha=2)
        new = _nearest(scores, assign, way).view_as(labels)

        last = step == max_iter
        prune = step == _PRUNE_AFTER and restarts > _PRUNE_TO and not last
        if way.launches and not (last or prune):
            labels = new
            continue
        # What the labels that the centres were computed from explain: total less inertia.
        gain = square.sum(dim=1).view(images, num_k, restarts)
        if prune:
            best = gain.topk(_PRUNE_TO, dim=-1).indices
            labels = new.gather(2, best[..., None].expand(*best.shape, length))
            continue
        finished = slice(None)
        if not last:
            moved = ((new != labels) * weights[:, None, None]).flatten(1).any(dim=1)
            finished = (~moved).nonzero()[:, 0]
        if last or len(finished):
            gains[active[finished]], best = gain[finished].max(dim=-1)
            best = best[..., None, None].expand(-1, -1, 1, length)
            found[active[finished]] = labels[finished].gather(2, best)[:, :, 0].to(found.dtype)
            if last or len(finished) == images:
                break
            left = moved.nonzero()[:, 0]
            active, gram, weights, new = active[left], gram[left], weights[left], new[left]
        labels = new
    return found, (total[:, None] - gains).clamp_min_(0)


def kmeans(tokens: Tensor, mask: Tensor | None, cluster_numbers: Sequence[int],
           keys: np.ndarray, num_init: int = 10, max_iter: int = MAX_STEPS,
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
    most, num_k = max(cluster_numbers), len(cluster_numbers)
    draws = upload(uniforms(keys, num_init * (1 + (most - 1) * _TRIALS), stream), device)
    labels = torch.full((batch, num_k, length), -1, dtype=torch.int64, device=device)
    inertia = torch.zeros(batch, num_k, device=device)

    # Masked tokens come first and the rest is cut off, at a length that the image alone decides.
    order = mask.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    count = mask.sum(dim=1)
    every = torch.arange(batch, device=device)
    for images, cut in _chunks(count, length, num_init * num_k * most):
        kept, size = order[images, :cut], count[images, None]
        present = torch.arange(cut, device=device) < size
        weights = present.to(torch.float32)
        points = tokens[every[images, None], kept].float() * weights[..., None]
        mean = points.sum(dim=1, keepdim=True) / size.clamp_min(1)[..., None]
        points = points.sub_(mean).mul_(weights[..., None])
        with _exact_products():
            gram = points @ points.mT
            sq = torch.diagonal(gram, dim1=1, dim2=2)
            sq_dists = torch.add(sq[:, :, None] + sq[:, None], gram, alpha=-2).clamp_min_(0)
            sq_dists *= weights[:, None]
            first = _seed(sq_dists, weights, draws[images], cluster_numbers, num_init)
            found, inertia[images] = _lloyd(gram, weights, first, most, max_iter)
        found = found.to(torch.int64).masked_fill_(~present[:, None], -1)
        scattered = torch.full((len(kept), num_k, length), -1, device=device)
        labels[images] = scattered.scatter_(2, kept[:, None].expand(-1, num_k, -1), found)
    return labels, inertia


def _chunks(count: Tensor, length: int,
            problems: int) -> Iterator[tuple[Tensor | slice, int]]:
    """Images that are clustered together and the number of tokens to which they are padded."""
    way = way_of(count.device)
    unit = max(1, length if way.launches else -(-length // _LENGTHS))

    def chunk(cut: int) -> int:
        return max(1, way.elements // (cut * max(problems, cut)))

    if way.launches:
        for start in range(0, len(count), chunk(unit)):
            yield slice(start, start + chunk(unit)), unit
        return
    bucket = (count + unit - 1).div(unit, rounding_mode='floor')
    for size in bucket.unique().tolist():
        if size:
            cut = min(size * unit, length)
            for images in (bucket == size).nonzero()[:, 0].split(chunk(cut)):
                yield images, cut


def check_cluster_numbers(cluster_numbers: Sequence[int], lowest: int = 2) -> None:
    """Raise ValueError unless there is a value and each is an int in lowest..15, none twice."""
    bad = [k for k in cluster_numbers if not isinstance(k, int) or not lowest <= k <= MAX_CLUSTERS]
    if bad or not cluster_numbers or len(set(cluster_numbers)) < len(cluster_numbers):
        raise ValueError(f'cluster numbers must be different integers from {lowest} to '
                         f'{MAX_CLUSTERS}, got {tuple(cluster_numbers)}')

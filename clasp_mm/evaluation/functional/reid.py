"""Camera-aware retrieval: mAP and CMC of Market-1501, MSMT17 and the like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_METRICS = ('euclidean', 'cosine')
_CHUNK_ELEMENTS = 1 << 22


def evaluate_reid(query_features: np.ndarray | Tensor, gallery_features: np.ndarray | Tensor,
                  query_pids: Sequence[int], gallery_pids: Sequence[int],
                  query_cams: Sequence[int], gallery_cams: Sequence[int],
                  ranks: Sequence[int] = (1, 5, 10), metric: str = 'euclidean',
                  max_rank: int = 50) -> dict[str, Any]:
    """Rank the gallery for each query and score the ranking.

    For each query, gallery images of the same identity *and* camera are taken out. Average
    precision is the mean of the precisions at each true match (no interpolation). A query whose
    matches were all taken out is skipped and counted. Distances are computed in float64 and
    compared in float32; equal ones keep the gallery's order.

    Args:
        query_features: (Q, C); tensors are worked on where they are.
        gallery_features: (G, C).
        query_pids: (Q,) identities.
        gallery_pids: (G,) identities; those no query has are distractors.
        query_cams: (Q,) cameras.
        gallery_cams: (G,) cameras.
        ranks: Which CMC values to name in the result.
        metric: ``'euclidean'`` as the features stand, or ``'cosine'``, which ranks as the
            Euclidean distance of L2-normalised features does.
        max_rank: Length of the CMC curve.

    Returns:
        In percent: ``mAP``, ``rank{r}`` for each of ``ranks``, ``cmc`` ((max_rank,) float64); and
        the counts ``num_valid`` and ``num_skipped`` of queries.

    Raises:
        ValueError: Shapes do not match, a feature is not finite, a rank is beyond ``max_rank``,
            the metric is unknown, or no query has a match.
    """
    if metric not in _METRICS:
        raise ValueError(f'unknown metric {metric!r}, choose one of {_METRICS}')
    if not ranks or min(ranks) < 1 or max(ranks) > max_rank:
        raise ValueError(f'ranks must lie in 1..max_rank={max_rank}, got {tuple(ranks)}')
    queries = _features('query', query_features)
    gallery = _features('gallery', gallery_features).to(queries.device)
    if queries.shape[1] != gallery.shape[1]:
        raise ValueError(f'query features have {queries.shape[1]} channels, gallery features '
                         f'{gallery.shape[1]}')
    query_pids, query_cams = (
        _labels(f'query_{kind}', values, queries)
        for kind, values in (('pids', query_pids), ('cams', query_cams)))
    gallery_pids, gallery_cams = (
        _labels(f'gallery_{kind}', values, gallery)
        for kind, values in (('pids', gallery_pids), ('cams', gallery_cams)))
    if metric == 'cosine':
        queries, gallery = F.normalize(queries, dim=1), F.normalize(gallery, dim=1)

    chunk = max(1, _CHUNK_ELEMENTS // len(gallery))
    precisions, first_hits = [], []
    for begin in range(0, len(queries), chunk):
        part = slice(begin, begin + chunk)
        same = query_pids[part, None] == gallery_pids
        removed = same & (query_cams[part, None] == gallery_cams)
        average_precision, first_hit = _score(
            _distances(queries[part], gallery, metric), same & ~removed, removed)
        precisions.append(average_precision)
        first_hits.append(first_hit)
    precisions, first_hits = torch.cat(precisions), torch.cat(first_hits)
    valid = first_hits > 0
    num_valid = int(valid.sum())
    if num_valid == 0:
        raise ValueError(
            f'none of the {len(queries)} queries has a match in the gallery of {len(gallery)}: '
            'a match has the same identity under another camera. Check identities and cameras')
    places = torch.arange(1, max_rank + 1, device=first_hits.device)
    cmc = (first_hits[valid, None] <= places).double().mean(dim=0).cpu().numpy() * 100
    return {
        'mAP': float(precisions[valid].mean()) * 100,
        **{f'rank{rank}': float(cmc[rank - 1]) for rank in ranks},
        'cmc': cmc,
        'num_valid': num_valid,
        'num_skipped': len(queries) - num_valid,
    }


def _score(distances: Tensor, matches: Tensor, removed: Tensor) -> tuple[Tensor, Tensor]:
    """Average precision and place of the first match (from 1) of each row; 0 and 0 for no match.

    The gallery is not sorted: to place a row's few matches, it is enough to count, between one
    match and the next, the images that stay.
    """
    # Non-negative floats rank as their bits do; the column below them breaks ties.
    columns = torch.arange(distances.shape[1], device=distances.device)
    keys = distances.view(torch.int32).long() << 32 | columns
    number = matches.sum(dim=1)
    slots = torch.arange(max(1, int(number.max())), device=keys.device)
    filled = slots < number[:, None]
    match_keys = keys.new_full(filled.shape, torch.iinfo(torch.int64).max)
    match_keys[filled] = keys[matches]
    match_keys = match_keys.sort(dim=1).values
    between = torch.zeros(len(keys), len(slots) + 1, dtype=torch.int64, device=keys.device)
    between.scatter_add_(1, torch.searchsorted(match_keys, keys), (~removed).long())
    places = between.cumsum(dim=1)[:, :-1]
    precision = torch.where(filled, (slots + 1) / places.clamp(min=1).double(), 0.)
    first = torch.where(number > 0, places[:, 0], 0)
    return precision.sum(dim=1) / number.clamp(min=1), first


def _distances(queries: Tensor, gallery: Tensor, metric: str) -> Tensor:
    """(Q, G) float32 distances >= 0; Euclidean ones squared, which ranks alike."""
    products = queries @ gallery.T
    if metric == 'cosine':
        return (1 - products).clamp(min=0).float()
    squares = queries.square().sum(dim=1, keepdim=True) + gallery.square().sum(dim=1)
    return (squares - 2 * products).clamp(min=0).float()


def _features(name: str, features: np.ndarray | Tensor) -> Tensor:
    features = torch.as_tensor(features).detach().double()
    if features.ndim != 2 or len(features) == 0:
        raise ValueError(f'{name} features must be (number, channels) with at least one row, got '
                         f'{tuple(features.shape)}')
    finite = features.isfinite().all(dim=1)
    if not finite.all():
        raise ValueError(f'{int((~finite).sum())} {name} features are not finite, the first in '
                         f'row {int(finite.int().argmin())}')
    return features


def _labels(name: str, values: Sequence[int], features: Tensor) -> Tensor:
    values = torch.as_tensor(np.asarray(values), device=features.device)
    if values.shape != features.shape[:1]:
        raise ValueError(f'{name} must be one number for each of the {len(features)} features, '
                         f'got shape {tuple(values.shape)}')
    return values

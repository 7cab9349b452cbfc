"""Camera-aware retrieval: mAP and CMC of Market-1501, MSMT17 and the like."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .reid_causes import split_causes
from .reid_distances import FeatureDistances, MatrixDistances, as_features
from .reid_ranking import Protocol, place_matches
from .reid_rerank import rerank_distances

_METRICS = ('euclidean', 'cosine')


def evaluate_reid(query_features: np.ndarray | Tensor, gallery_features: np.ndarray | Tensor,
                  query_pids: Sequence[int], gallery_pids: Sequence[int],
                  query_cams: Sequence[int] | None, gallery_cams: Sequence[int] | None,
                  ranks: Sequence[int] = (1, 5, 10), metric: str = 'euclidean',
                  max_rank: int = 50, rerank: bool | Mapping[str, Any] = False,
                  device: str | torch.device | None = None) -> dict[str, Any]:
    """Rank the gallery for each query and score the ranking.

    For each query, gallery images of the same identity *and* camera are taken out; a camera that
    is not known equals no other. Average precision is the mean of the precisions at each true match
    (no interpolation). A query whose matches were all taken out is skipped and counted. The ranking
    is that of distances computed in float64 and rounded to float32; equal ones keep the gallery's
    order. It does not depend on the size of the chunks that are worked on, nor on the device.

    Args:
        query_features: (Q, C).
        gallery_features: (G, C).
        query_pids: (Q,) identities; negative where there is none.
        gallery_pids: (G,) identities; those no query has, and negative ones, are distractors.
        query_cams: (Q,) cameras, negative where not known. None, with ``gallery_cams``: none is
            known, and no image is taken out.
        gallery_cams: (G,) cameras, or None.
        ranks: Which CMC values to name in the result.
        metric: ``'euclidean'`` as the features stand, or ``'cosine'``, which ranks as the
            Euclidean distance of L2-normalised features does.
        max_rank: Length of the CMC curve.
        rerank: Rank by k-reciprocal distances; True or the arguments ``k1``, ``k2`` and
            ``lambda_value`` of :func:`~.reid_rerank.rerank_distances`.
        device: Where to compute; by default on the GPU where there is one.

    Returns:
        In percent: ``mAP``, ``rank{r}`` for each of ``ranks``, ``cmc`` ((max_rank,) float64) and
        ``average_precision`` ((Q,) float64, NaN for skipped queries); and the counts ``num_valid``
        and ``num_skipped`` of queries.

    Raises:
        ValueError: Shapes do not match, a feature is not finite, a rank is beyond ``max_rank``,
            the metric is unknown, or no query has a match (the message says why).

    Example:
        >>> query, gallery = np.array([[1., 0.]]), np.array([[0., 1.], [1., .1]])
        >>> scores = evaluate_reid(query, gallery, [7], [5, 7], None, None, ranks=(1, ))
        >>> scores['mAP'], scores['rank1']
        (100.0, 100.0)
    """
    if metric not in _METRICS:
        raise ValueError(f'unknown metric {metric!r}, choose one of {_METRICS}')
    if not ranks or min(ranks) < 1 or max(ranks) > max_rank:
        raise ValueError(f'ranks must lie in 1..max_rank={max_rank}, got {tuple(ranks)}')
    queries = as_features('query', query_features, device)
    gallery = as_features('gallery', gallery_features, queries.device)
    if queries.shape[1] != gallery.shape[1]:
        raise ValueError(f'query features have {queries.shape[1]} channels, gallery features '
                         f'{gallery.shape[1]}')
    protocol = Protocol(query_pids, gallery_pids, query_cams, gallery_cams,
                        len(queries), len(gallery))
    if not any(len(matches) for matches in protocol.matches):
        raise ValueError(
            f'none of the {len(queries)} queries has a match in the gallery of {len(gallery)}: '
            + '; '.join(split_causes(protocol)))
    if rerank:
        options = {} if rerank is True else rerank
        distances = MatrixDistances(rerank_distances(queries, gallery, metric=metric, **options))
    else:
        distances = FeatureDistances(queries, gallery, normalize=metric == 'cosine')

    precisions, firsts = np.full(len(queries), np.nan), np.zeros(len(queries), np.int64)
    for query, places in place_matches(distances, protocol):
        precisions[query] = (np.arange(1, len(places) + 1) / places).mean() * 100
        firsts[query] = places[0]
    valid = firsts > 0
    cmc = (firsts[valid, None] <= np.arange(1, max_rank + 1)).mean(axis=0) * 100
    return {
        'mAP': float(precisions[valid].mean()),
        **{f'rank{rank}': float(cmc[rank - 1]) for rank in ranks},
        'cmc': cmc,
        'average_precision': precisions,
        'num_valid': int(valid.sum()),
        'num_skipped': int((~valid).sum()),
    }

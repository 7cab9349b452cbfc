"""Re-identification: step and inference against mmpretrain's Swin; scoring against a plain sort."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from clasp_mm.evaluation.functional import evaluate_reid

from .contest import Goal, Options, Row, race
from .downstream import MMPRETRAIN, Size, contest

_SCORING = Goal(0.20)
# MSMT17 has 11,659 queries, for which the plain form would hold 7.7 GB of ranks at once.
_QUERIES, _GALLERY, _CHANNELS, _PEOPLE, _CAMERAS = 1000, 82161, 1024, 3060, 15


def reid(options: Options) -> Iterator[Row]:
    """Market-1501 at 384x128 against mmpretrain's Swin; MSMT17's gallery against numpy."""
    yield from contest(
        'Re-identification', 'reid/transreid_pcmoe-swin-tiny_1xb64-120e_market1501-384x128.py',
        (384, 128), _sample, options, batch=4, goals=MMPRETRAIN)
    queries, gallery = (20, 500) if options.quick else (_QUERIES, _GALLERY)
    arrays = features_like(queries, gallery)
    yield race('evaluate_reid', f'{queries} queries x {gallery} x {_CHANNELS}',
               'products, argsort and a loop over queries in numpy',
               lambda: evaluate_reid(*arrays, device=options.device),
               lambda: plain_mean_ap(*arrays), _SCORING, options, queries)


def features_like(queries: int, gallery: int) -> tuple[np.ndarray, ...]:
    """Features of queries and gallery around their people, then identities, then cameras."""
    rng = np.random.default_rng(0)
    people = rng.normal(size=(_PEOPLE, _CHANNELS)).astype(np.float32)
    pids = [rng.integers(0, _PEOPLE, number) for number in (queries, gallery)]
    features = [people[own] + 2.2 * rng.normal(size=(len(own), _CHANNELS)).astype(np.float32)
                for own in pids]
    features = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in features]
    return (*features, *pids, *(rng.integers(0, _CAMERAS, len(own)) for own in pids))


def plain_mean_ap(query_features: np.ndarray, gallery_features: np.ndarray, query_pids: np.ndarray,
                  gallery_pids: np.ndarray, query_cams: np.ndarray,
                  gallery_cams: np.ndarray) -> float:
    """Score (mAP, percent) the usual way: all distances, all sorted, one query at a time."""
    distances = ((query_features**2).sum(1)[:, None] + (gallery_features**2).sum(1)
                 - 2 * query_features @ gallery_features.T)
    order = np.argsort(distances, axis=1)
    right = gallery_pids[order] == query_pids[:, None]
    scores = []
    for query, ranked in enumerate(order):
        stays = ~(right[query] & (gallery_cams[ranked] == query_cams[query]))
        hits = right[query][stays]
        if hits.any():
            places = np.arange(1, len(hits) + 1)
            scores.append((hits.cumsum() / places * hits).sum() / hits.sum())
    return 100 * float(np.mean(scores))


def _sample(cfg: Config, size: Size) -> Any:
    from mmpretrain.structures import DataSample
    return DataSample().set_gt_label(int(torch.randint(cfg.model.head.num_classes, ())))

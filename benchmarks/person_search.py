"""Person search: step and inference against mmdet's Swin; the metric at full size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from clasp_mm.evaluation.functional import evaluate_person_search
from clasp_mm.utils.timing import interleaved

from .contest import Goal, Options, Row
from .downstream import MMPRETRAIN, Size, contest, detection_sample, host_swin

_TINY = 'person_search/seqnet_pcmoe-swin-tiny_1xb4-20e_cuhk-sysu-900x1500.py'
_QUICK = 'quickstart/person_search_seqnet_pcmoe-swin-nano_1xb4_synthetic-240x400.py'
_MINUTE = 60.  # seconds that the full protocol may take on one core
# CUHK-SYSU's test: queries, frames, people that a detector finds in one, frames of a gallery.
_QUERIES, _FRAMES, _PEOPLE, _GALLERY, _CHANNELS = 2900, 6978, 6.5, 100, 256


def person_search(options: Options) -> Iterator[Row]:
    """SeqNet against mmdet's Swin, on CPUs at a quarter of the area; CUHK-SYSU's protocol."""
    size = (448, 752) if options.device == 'cpu' else (896, 1504)
    yield from contest('SeqNet', seqnet_config(options), size, person_sample, options,
                        batch=1, goals=MMPRETRAIN, peer=host_seqnet)
    queries, frames = (40, 200) if options.quick else (_QUERIES, _FRAMES)
    arrays = saved_features(queries, frames)
    for matching in (None, (10, 3)):
        time = interleaved({'ours': lambda cbgm=matching: evaluate_person_search(
            **arrays, cbgm=cbgm)}, options.repeats, warmup=0)['ours']
        row = Row('evaluate_person_search' + ('' if matching is None else ', CBGM'),
                  f'{queries} queries in {frames} frames, galleries of {_GALLERY}, {_CHANNELS} '
                  'channels', 'a minute', time.seconds, _MINUTE, 's', Goal(1.), queries)
        row.details['cpu_ratio'] = time.cpu_seconds / _MINUTE
        yield row


def seqnet_config(options: Options) -> str:
    """SeqNet's config, below ``configs``."""
    return _QUICK if options.quick else _TINY


def host_seqnet(model: dict, host: str) -> dict:
    """The config of the same SeqNet on mmdet's Swin."""
    from .host_seqnet import HostSeqNet, HostSwin
    settings = host_swin(model['backbone'], host)
    settings.pop('out_indices')
    settings.update(type=HostSwin, window_size=model['backbone'].get('window_size', 7))
    return dict(model, type=HostSeqNet, backbone=settings)


def saved_features(queries: int, frames: int) -> dict[str, Any]:
    """Arguments of ``evaluate_person_search``: as many people as queries, in some frames each."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(queries, _CHANNELS))
    pids, boxes, features = [], [], []
    for count in rng.poisson(_PEOPLE, frames).clip(1, 60):
        pids.append(rng.choice(queries, min(count, queries), replace=False))
        vectors = centres[pids[-1]] + 1.5 * rng.normal(size=(len(pids[-1]), _CHANNELS))
        features.append(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        corner = rng.uniform(0, 600, (len(pids[-1]), 2))
        boxes.append(np.concatenate([corner, corner + rng.uniform((30, 80), (120, 300), (
            len(corner), 2))], 1))
    found = [own + rng.normal(0, 2, own.shape) for own in boxes]
    frame, place = (np.array(one) for one in zip(*[
        (frame, place) for frame, own in enumerate(pids) for place in range(len(own))],
        strict=True))
    chosen = rng.choice(len(frame), queries, replace=False)
    query_pids = np.array([pids[frame[one]][place[one]] for one in chosen])
    shown = {pid: [] for pid in query_pids.tolist()}
    for index, own in enumerate(pids):
        for pid in own.tolist():
            if pid in shown:
                shown[pid].append(index)
    galleries = []
    for one, pid in zip(chosen, query_pids.tolist(), strict=True):
        others = [index for index in shown[pid] if index != frame[one]]
        fill = np.setdiff1d(rng.choice(frames, min(frames, 2 * _GALLERY), replace=False),
                            [frame[one], *others])
        galleries.append([*others, *fill][:_GALLERY])
    return dict(
        boxes=found, scores=[rng.uniform(.5, 1, len(own)) for own in pids], features=features,
        query_features=np.stack([features[frame[one]][place[one]] for one in chosen]),
        query_images=frame[chosen], query_pids=query_pids, gt_boxes=boxes, gt_pids=pids,
        query_boxes=np.stack([boxes[frame[one]][place[one]] for one in chosen]),
        galleries=galleries)


def person_sample(cfg: Config, size: Size) -> Any:
    """Some people, each of an identity, one of them a query."""
    sample = detection_sample(cfg, size)
    sample.gt_instances.labels = torch.arange(len(sample.gt_instances.bboxes))  # identities
    box = sample.gt_instances.bboxes[0].tolist()
    sample.set_metainfo(dict(queries=[dict(bbox=box)], img_path=''))
    return sample

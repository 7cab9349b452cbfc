"""Person search: the score of CUHK-SYSU and PRW, and of the detections below it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

_CHUNK_ELEMENTS = 1 << 24


class _People(NamedTuple):
    """Boxes of all images in one table; image i has the rows starts[i] to starts[i + 1]."""

    boxes: np.ndarray
    starts: np.ndarray

    @classmethod
    def join(cls, boxes: Sequence[np.ndarray]) -> _People:
        counts = [len(one) for one in boxes]
        rows = [np.asarray(one, np.float64).reshape(-1, 4) for one in boxes]
        return cls(np.concatenate([np.zeros((0, 4)), *rows]), np.concatenate([[0], np.cumsum(
            counts, dtype=np.int64)]))

    def of(self, image: int) -> np.ndarray:
        """Rows of an image."""
        return np.arange(self.starts[image], self.starts[image + 1])

    def of_all(self, images: np.ndarray) -> np.ndarray:
        """Rows of some images, in their order."""
        first = self.starts[images]
        counts = self.starts[images + 1] - first
        ends = np.cumsum(counts)
        return np.repeat(first - ends + counts, counts) + np.arange(ends[-1])


def evaluate_person_search(
        boxes: Sequence[np.ndarray], scores: Sequence[np.ndarray],
        features: Sequence[np.ndarray], query_features: np.ndarray, query_images: Sequence[int],
        query_boxes: np.ndarray, query_pids: Sequence[int], gt_boxes: Sequence[np.ndarray],
        gt_pids: Sequence[np.ndarray], galleries: Sequence[Sequence[int]] | None = None,
        topk: Sequence[int] = (1, 5, 10), score_threshold: float = 0.5,
        cbgm: tuple[int, int] | None = None) -> dict[str, Any]:
    """Search each query person in the frames of a gallery and score the ranking.

    All detections of a gallery are ranked by the dot product of their feature with the query's.
    In each frame that shows the person, one detection is right: among those whose IoU with the
    person's box (w by h pixels) is at least min(0.5, wh / ((w + 10)(h + 10))), the one most
    similar to the query. Average precision is that of scikit-learn (equal similarities are one
    threshold) times the recall, the share of such frames with a right detection. Top-k is the
    share of queries with a right detection among their first k, equal ones in the order of the
    gallery. This is the protocol of CUHK-SYSU (Xiao et al., CVPR 2017) and PRW (Zheng et al.,
    CVPR 2017) as the authors' and SeqNet's code has it. A query that no frame of its gallery
    shows is skipped and counted; where all are, mAP and top-k are NaN.

    Args:
        boxes: Detections of each image, (N_i, 4) as x1, y1, x2, y2 in pixels.
        scores: Confidences of each image, (N_i, ).
        features: Features of each image, (N_i, C), compared as they stand.
        query_features: (Q, C), of the true boxes.
        query_images: (Q, ) index of the image that each query is cut from.
        query_boxes: (Q, 4) their boxes.
        query_pids: (Q, ) their identities.
        gt_boxes: True boxes of each image, (M_i, 4), of everybody.
        gt_pids: Identities of each image, (M_i, ); where an image has one twice, the first counts.
        galleries: Gallery of each query, the indices of its frames (CUHK-SYSU); None takes all
            images but the query's own (PRW).
        topk: Which k to report.
        score_threshold: Detections of less confidence are left out everywhere.
        cbgm: Context bipartite graph matching as in SeqNet's code (Li and Miao, AAAI 2021):
            (number of detections, number of people). In the frames of the most similar
            detections, the query and the surest people beside her (IoU of at most 0.5) are matched
            with the detections so that the sum of similarities is largest; the largest of them
            becomes the similarity of the query's own match. The features of those beside her are
            made unit vectors, without the confidence that others may be weighed with.

    Returns:
        In percent: ``mAP``, ``top{k}``; ``det_AP`` and ``det_recall`` of all true boxes at IoU 0.5
        (SeqNet's, a box and a detection match if each is the other's best);
        ``average_precision`` ((Q,), NaN for skipped queries); the counts ``num_valid`` and
        ``num_skipped`` of queries.

    Raises:
        ValueError: Lengths do not match, a feature is not finite, or a gallery is empty or names
            an image that is not there.

    Example:
        >>> box, feature = np.array([[0., 0., 10., 20.]]), np.array([[1., 0.]])
        >>> found = evaluate_person_search(
        ...     [box, box], [[.9], [.9]], [feature, feature], feature, [0], box, [3], [box, box],
        ...     [[3], [3]])
        >>> found['mAP'], found['top1']
        (100.0, 100.0)
    """
    _check_lengths(boxes, scores, features, gt_boxes, gt_pids, query_features, query_images,
                   query_boxes, query_pids, galleries)
    kept = [np.asarray(one) >= score_threshold for one in scores]
    found = _People.join([np.asarray(one).reshape(-1, 4)[keep]
                          for one, keep in zip(boxes, kept, strict=True)])
    confidence = np.concatenate([np.zeros(0), *(
        np.asarray(one, np.float64)[keep] for one, keep in zip(scores, kept, strict=True))])
    queries = np.asarray(query_features, np.float64)
    table = np.concatenate([np.zeros((0, queries.shape[1])), *(
        np.asarray(one, np.float64).reshape(-1, queries.shape[1])[keep]
        for one, keep in zip(features, kept, strict=True))])
    _check_finite(table, found, queries)
    query_boxes = np.asarray(query_boxes, np.float64)
    matches = _candidates(found, gt_boxes, gt_pids, set(np.asarray(query_pids).tolist()))

    precisions, places = np.full(len(queries), np.nan), []
    every = np.arange(len(boxes))
    for query, similarity in _similarities(queries, table):
        image = int(query_images[query])
        frames = (every[every != image] if galleries is None
                  else _gallery(galleries[query], query, len(boxes)))
        inside = np.zeros(len(boxes), bool)
        inside[frames] = True
        shown = {frame: rows for frame, rows in matches.get(int(query_pids[query]), {}).items()
                 if inside[frame]}
        if not shown:
            continue
        rows = found.of_all(frames)
        if cbgm is not None:
            beside = _beside(query_boxes[query], found.of(image), found, confidence, cbgm[1] - 1)
            people = np.concatenate([queries[query][None], _unit(table[beside])])
            similarity = _with_context(similarity, rows, people, found, table, cbgm[0])
        precision, place = _rank(similarity, rows, list(shown.values()))
        precisions[query] = precision / len(shown) * 100
        places.append(place)
    places = np.array(places)
    names = ('mAP', *(f'top{k}' for k in topk))
    means = [np.nan] * len(names)
    if len(places):
        means = [np.nanmean(precisions), *(np.mean(places <= k) * 100 for k in topk)]
    return {
        **{name: float(mean) for name, mean in zip(names, means, strict=True)},
        **_detection(confidence, _right(found, gt_boxes), sum(map(len, gt_boxes))),
        'average_precision': precisions,
        'num_valid': len(places),
        'num_skipped': len(queries) - len(places),
    }


def _gallery(images: Sequence[int], query: int, num_images: int) -> np.ndarray:
    frames = np.asarray(images, np.int64)
    if not len(frames):
        raise ValueError(f'the gallery of query {query} is empty')
    if frames.min() < 0 or frames.max() >= num_images:
        raise ValueError(f'the gallery of query {query} names image '
                         f'{frames.max() if frames.min() >= 0 else frames.min()}, there are '
                         f'{num_images}')
    return frames


def _similarities(queries: np.ndarray, table: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each query and the float32 similarities of all detections."""
    step = max(1, _CHUNK_ELEMENTS // max(1, len(table)))
    for begin in range(0, len(queries), step):
        block = (queries[begin:begin + step] @ table.T).astype(np.float32)
        yield from enumerate(block, begin)


def _candidates(found: _People, gt_boxes: Sequence[np.ndarray], gt_pids: Sequence[np.ndarray],
                wanted: set[int]) -> dict[int, dict[int, np.ndarray]]:
    """Identity -> image -> rows of the detections that lie well enough on the person."""
    matches: dict[int, dict[int, np.ndarray]] = {}
    for image, (boxes, pids) in enumerate(zip(gt_boxes, gt_pids, strict=True)):
        for box, pid in zip(np.asarray(boxes, np.float64), np.asarray(pids).tolist(), strict=True):
            if pid not in wanted or image in matches.setdefault(pid, {}):
                continue
            width, height = box[2:] - box[:2]
            least = min(0.5, width * height / ((width + 10) * (height + 10)))
            rows = found.of(image)
            matches[pid][image] = rows[_iou(box[None], found.boxes[rows])[0] >= least]
    return matches


def _rank(similarity: np.ndarray, rows: np.ndarray, shown: Sequence[np.ndarray]
          ) -> tuple[float, float]:
    """Sum of the precisions at the right detections, and the place of the first (from 1)."""
    right = np.array([one[similarity[one].argmax()] for one in shown if len(one)], np.int64)
    if not len(right):
        return 0., np.inf
    values, ranked = similarity[right], np.sort(similarity[rows])
    before = len(rows) - np.searchsorted(ranked, values, 'left')
    hits = len(right) - np.searchsorted(np.sort(values), values, 'left')
    best = values.max()
    tied = rows[similarity[rows] == best]
    place = len(rows) - np.searchsorted(ranked, best, 'right') + np.isin(tied, right).argmax() + 1
    return float((hits / before).sum()), float(place)


def _beside(box: np.ndarray, rows: np.ndarray, found: _People, confidence: np.ndarray,
            count: int) -> np.ndarray:
    """Of the detections of a query's image the surest that are not herself."""
    others = rows[_iou(box[None], found.boxes[rows])[0] <= 0.5]
    return others[np.argsort(-confidence[others], kind='stable')[:count]]


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def _with_context(similarity: np.ndarray, rows: np.ndarray, people: np.ndarray, found: _People,
                  table: np.ndarray, count: int) -> np.ndarray:
    """The similarities after context bipartite graph matching in the frames of the best."""
    best = rows[np.argsort(-similarity[rows], kind='stable')[:count]]
    revised = similarity.copy()
    for frame in np.unique(np.searchsorted(found.starts, best, 'right') - 1):
        own = found.of(frame)
        match, largest = _best_matching(people @ table[own].T)
        if match is not None:
            revised[own[match]] = largest
    return revised


def _best_matching(weights: np.ndarray) -> tuple[int | None, float]:
    """Match min(rows, columns) pairs so that the sum of weights is largest."""
    turned = weights.shape[0] > weights.shape[1]
    table = weights.T if turned else weights
    count = len(table)
    partners = np.argsort(-table, axis=1, kind='stable')[:, :count]
    rows = table.tolist()
    pairs, chosen = max(
        (([row[partner] for row, partner in zip(rows, way, strict=True)], way)
         for way in product(*partners.tolist()) if len(set(way)) == count),
        key=lambda one: sum(one[0]))
    if not turned:
        return chosen[0], max(pairs)
    return (chosen.index(0) if 0 in chosen else None), max(pairs)


def detection_average_precision(boxes: Sequence[np.ndarray], scores: Sequence[np.ndarray],
                                gt_boxes: Sequence[np.ndarray]) -> dict[str, float]:
    """The part of :func:`evaluate_person_search` that is about boxes alone; arguments as there.

    Returns:
        ``det_AP`` and ``det_recall`` in percent, at IoU 0.5.

    Example:
        >>> box = np.array([[0., 0., 10., 20.]])
        >>> detection_average_precision([box], [[.9]], [box])
        {'det_AP': 100.0, 'det_recall': 100.0}
    """
    return _detection(np.concatenate([np.zeros(0), *scores]), right_boxes(boxes, gt_boxes),
                      sum(map(len, gt_boxes)))


def right_boxes(boxes: Sequence[np.ndarray], gt_boxes: Sequence[np.ndarray]) -> np.ndarray:
    """Which of all detections, image by image, are right at IoU 0.5, (N,) bool."""
    return _right(_People.join(boxes), gt_boxes)


def _right(found: _People, gt_boxes: Sequence[np.ndarray]) -> np.ndarray:
    right = np.zeros(len(found.boxes), bool)
    for image, boxes in enumerate(gt_boxes):
        rows = found.of(image)
        if len(rows) and len(boxes):
            overlap = _iou(np.asarray(boxes, np.float64), found.boxes[rows])
            column = np.arange(len(rows))
            best = overlap.argmax(axis=0)
            right[rows] = (overlap[best, column] >= 0.5) & (
                overlap.argmax(axis=1)[best] == column)
    return right


def _detection(confidence: np.ndarray, right: np.ndarray, total: int) -> dict[str, float]:
    """Average precision times recall, and recall, of the detections."""
    ranked, hits = np.sort(confidence), np.sort(confidence[right])
    precision = (len(hits) - np.searchsorted(hits, hits, 'left')) / (
        len(ranked) - np.searchsorted(ranked, hits, 'left'))
    return {'det_AP': float(precision.sum()) / max(total, 1) * 100,
            'det_recall': float(right.sum()) / max(total, 1) * 100}


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(A, B) overlaps of boxes (A, 4) and (B, 4)."""
    sides = (np.minimum(a[:, None, 2:], b[None, :, 2:])
             - np.maximum(a[:, None, :2], b[None, :, :2])).clip(min=0)
    both = sides.prod(axis=2)
    areas = [(one[:, 2:] - one[:, :2]).prod(axis=1) for one in (a, b)]
    union = areas[0][:, None] + areas[1] - both
    return np.where(union > 0, both / np.where(union > 0, union, 1), 0.)


def _check_lengths(boxes, scores, features, gt_boxes, gt_pids, query_features, query_images,
                   query_boxes, query_pids, galleries) -> None:
    for name, values in dict(scores=scores, features=features, gt_boxes=gt_boxes,
                             gt_pids=gt_pids).items():
        if len(values) != len(boxes):
            raise ValueError(f'{name} of {len(values)} images, boxes of {len(boxes)}')
    for pair in (dict(boxes=boxes, scores=scores), dict(boxes=boxes, features=features),
                 dict(gt_boxes=gt_boxes, gt_pids=gt_pids)):
        (first, a), (second, b) = pair.items()
        for image, (one, other) in enumerate(zip(a, b, strict=True)):
            if len(one) != len(other):
                raise ValueError(
                    f'image {image} has {len(one)} {first} and {len(other)} {second}')
    if np.ndim(query_features) != 2:
        raise ValueError('query_features must be (queries, channels), got '
                         f'{np.shape(query_features)}')
    for name, values in dict(query_images=query_images, query_boxes=query_boxes,
                             query_pids=query_pids, galleries=galleries).items():
        if values is not None and len(values) != len(query_features):
            raise ValueError(f'{len(values)} {name} for {len(query_features)} query features')


def _check_finite(table: np.ndarray, found: _People, queries: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        image = int(np.searchsorted(found.starts, bad[0], 'right')) - 1
        raise ValueError(f'{len(bad)} features of detections are not finite, the first in image '
                         f'{image}')
    bad = np.flatnonzero(~np.isfinite(queries).all(axis=1))
    if len(bad):
        raise ValueError(f'{len(bad)} query features are not finite, the first of query {bad[0]}')

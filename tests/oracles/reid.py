"""Retrieval scores by plain loops, one query and one gallery image at a time."""

import numpy as np


def evaluate_reid(query_features, gallery_features, query_pids, gallery_pids, query_cams,
                  gallery_cams, metric='euclidean', max_rank=50):
    precisions, curves, skipped = [], [], 0
    for q, query in enumerate(np.asarray(query_features, np.float64)):
        candidates = []
        for g, item in enumerate(np.asarray(gallery_features, np.float64)):
            if gallery_pids[g] == query_pids[q] and gallery_cams[g] == query_cams[q] >= 0:
                continue
            if metric == 'euclidean':
                distance = sum((a - b) ** 2 for a, b in zip(query, item, strict=True))
            else:
                distance = 1 - query @ item / (np.linalg.norm(query) * np.linalg.norm(item))
            candidates.append((np.float32(distance), g))
        candidates.sort()
        right = [gallery_pids[g] == query_pids[q] >= 0 for _, g in candidates]
        if not any(right):
            skipped += 1
            continue
        found, at_hits = 0, []
        for place, is_right in enumerate(right, start=1):
            if is_right:
                found += 1
                at_hits.append(found / place)
        precisions.append(sum(at_hits) / len(at_hits))
        curves.append([float(any(right[:rank])) for rank in range(1, max_rank + 1)])
    return {'mAP': 100 * np.mean(precisions), 'cmc': 100 * np.mean(curves, axis=0),
            'num_valid': len(precisions), 'num_skipped': skipped}


def average_precision(distances, right):
    """Of one row without removed images, in 0..1."""
    order = sorted(range(len(distances)), key=lambda g: (distances[g], g))
    found, at_hits = 0, []
    for place, g in enumerate(order, start=1):
        if right[g]:
            found += 1
            at_hits.append(found / place)
    return sum(at_hits) / len(at_hits)

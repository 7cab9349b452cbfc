"""Person search scored one box at a time, in the order of the published protocol."""

import math
from itertools import permutations

from sklearn.metrics import average_precision_score


def iou(a, b):
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def dot(a, b):
    return float(sum(x * y for x, y in zip(a, b, strict=True)))


def matching(weights):
    """Of the matching with the best sum: its largest weight, and the column of row 0 or None."""
    rows, columns = len(weights), len(weights[0])
    ways = []
    if rows <= columns:
        for chosen in permutations(range(columns), rows):
            ways.append([(i, j) for i, j in enumerate(chosen)])
    else:
        for chosen in permutations(range(rows), columns):
            ways.append([(i, j) for j, i in enumerate(chosen)])
    best = max(ways, key=lambda way: sum(weights[i][j] for i, j in way))
    return max(weights[i][j] for i, j in best), dict(best).get(0)


def search(people, queries, galleries, threshold, topk, cbgm=None):
    """Args: people[image] = list of (box, score, feature); queries = list of dict(image, box,
    feature, shown={image: box}); galleries[query] = images. Gives mAP, top-k, skipped."""
    precisions, found, skipped = [], [], 0
    for query, frames in zip(queries, galleries, strict=True):
        shown = sum(frame in query['shown'] for frame in frames)
        if not shown:
            skipped += 1
            continue
        good = {frame: [one for one in people[frame] if one[1] >= threshold] for frame in frames}
        similar = {frame: [dot(one[2], query['feature']) for one in good[frame]]
                   for frame in frames}
        if cbgm:
            _context(query, people, good, similar, threshold, cbgm)
        y_true, y_score, hits = [], [], 0
        for frame in frames:
            label = [0] * len(good[frame])
            if frame in query['shown']:
                box = query['shown'][frame]
                w, h = box[2] - box[0], box[3] - box[1]
                least = min(0.5, w * h / ((w + 10) * (h + 10)))
                for j in sorted(range(len(label)), key=lambda j: -similar[frame][j]):
                    if iou(good[frame][j][0], box) >= least:
                        label[j] = 1
                        hits += 1
                        break
            y_true += label
            y_score += similar[frame]
        precisions.append(average_precision_score(y_true, y_score) * hits / shown if hits else 0.)
        order = sorted(range(len(y_true)), key=lambda j: -y_score[j])
        found.append([any(y_true[j] for j in order[:k]) for k in topk])
    count = len(precisions)
    return (100 * sum(precisions) / count,
            [100 * sum(one[i] for one in found) / count for i in range(len(topk))], skipped)


def _context(query, people, good, similar, threshold, cbgm):
    num_detections, num_people = cbgm
    others = [one for one in people[query['image']]
              if one[1] >= threshold and iou(one[0], query['box']) <= 0.5]
    others = sorted(others, key=lambda one: -one[1])[:num_people - 1]
    features = [query['feature']]
    for one in others:
        length = math.sqrt(dot(one[2], one[2]))
        features.append([value / length for value in one[2]])
    best = sorted(((value, frame) for frame in good for value in similar[frame]), reverse=True)
    for frame in {frame for _, frame in best[:num_detections]}:
        largest, column = matching([[dot(one, other[2]) for other in good[frame]]
                                    for one in features])
        if column is not None:
            similar[frame][column] = largest


def detection(people, truth, threshold):
    y_true, y_score, hits, total = [], [], 0, 0
    for found, boxes in zip(people, truth, strict=True):
        found = [one for one in found if one[1] >= threshold]
        total += len(boxes)
        for j, (box, score, _) in enumerate(found):
            overlaps = [iou(one, box) for one in boxes]
            right = False
            if boxes:
                i = overlaps.index(max(overlaps))
                rivals = [iou(boxes[i], one[0]) for one in found]
                right = overlaps[i] >= 0.5 and rivals.index(max(rivals)) == j
            y_true.append(int(right))
            y_score.append(score)
            hits += right
    recall = hits / total
    return (100 * average_precision_score(y_true, y_score) * recall if hits else 0.), 100 * recall

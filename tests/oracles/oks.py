"""Object keypoint similarity, its non-maximum suppression, and COCO's AP and AR, by loops."""

import math

import numpy as np

SIGMAS = [.026, .025, .025, .035, .035, .079, .079, .072, .072, .062, .062, .107, .107, .087,
          .087, .089, .089]
AREAS = {'': (0, 1e10), ' (M)': (32**2, 96**2), ' (L)': (96**2, 1e10)}


def similarity(found, person):
    """Mean over the labelled joints; where none is, by the distance to the doubled box."""
    total, number = 0., 0
    x, y, w, h = person['bbox']
    anything = any(v > 0 for *_, v in person['keypoints'])
    for (a, b), (c, d, v), sigma in zip(found, person['keypoints'], SIGMAS, strict=True):
        if anything:
            if v == 0:
                continue
            dx, dy = a - c, b - d
        else:
            dx = max(0, x - w - a) + max(0, a - (x + 2 * w))
            dy = max(0, y - h - b) + max(0, b - (y + 2 * h))
        total += math.exp(-(dx**2 + dy**2) / (2 * person['area'] * (2 * sigma)**2))
        number += 1
    return total / number


def extent(found):
    xs, ys = [x for x, _ in found], [y for _, y in found]
    return (max(xs) - min(xs)) * (max(ys) - min(ys))


def suppress(found, threshold=.9):
    """The poses of an image, best first, without those too alike a better one."""
    kept = []
    for pose in sorted(found, key=lambda one: -one['score']):
        alike = False
        for better in kept:
            area = (extent(pose['keypoints']) + extent(better['keypoints'])) / 2
            person = {'keypoints': [(x, y, 1) for x, y in better['keypoints']],
                      'bbox': (0, 0, 0, 0), 'area': area}
            alike = alike or similarity(pose['keypoints'], person) > threshold
        if not alike:
            kept.append(pose)
    return kept


def pose_score(box_score, joint_scores):
    """Score of the box by the mean score of the joints above 0.2."""
    sure = [score for score in joint_scores if score > .2]
    return box_score * sum(sure) / len(sure) if sure else 0.


def match(found, people, threshold, low, high):
    """('true' / 'false' / 'ignored') of each pose of an image, and how many people count."""
    counted, others = [], []
    for person in people:
        labelled = any(v > 0 for *_, v in person['keypoints'])
        counts = labelled and not person['iscrowd'] and low <= person['area'] <= high
        (counted if counts else others).append(person)
    taken, outcome = set(), []
    for pose in found:
        verdict = None
        for group, name in ((counted, 'true'), (others, 'ignored')):
            best, choice = min(threshold, 1 - 1e-10), None
            for person in group:
                if id(person) in taken and not person['iscrowd']:
                    continue
                value = similarity(pose['keypoints'], person)
                if value >= best:
                    best, choice = value, person
            if choice is not None:
                taken.add(id(choice))
                verdict = name
                break
        if verdict is None:
            verdict = 'false' if low <= extent(pose['keypoints']) <= high else 'ignored'
        outcome.append(verdict)
    return outcome, len(counted)


def average_precision_and_recall(images):
    """COCO's ten numbers.

    Args:
        images: Each (people, found): people with ``keypoints`` (17 of x, y, v), ``bbox``,
            ``area`` and ``iscrowd``; found with ``keypoints`` (17 of x, y) and ``score``.
    """
    result = {}
    for label, (low, high) in AREAS.items():
        precisions, recalls = [], []
        for threshold in np.linspace(.5, .95, 10):
            ranked, total = [], 0
            for people, found in images:
                best = sorted(found, key=lambda one: -one['score'])[:20]
                outcome, number = match(best, people, threshold, low, high)
                ranked += zip([one['score'] for one in best], outcome, strict=True)
                total += number
            ranked.sort(key=lambda one: -one[0])
            if total == 0:
                continue
            curve, true, false = [], 0, 0
            for _, verdict in ranked:
                true += verdict == 'true'
                false += verdict == 'false'
                curve.append((true / total, true / max(true + false, 1)))
            recalls.append(curve[-1][0] if curve else 0.)
            precisions.append(np.mean([
                max((precision for recall, precision in curve if recall >= point), default=0.)
                for point in np.linspace(0, 1, 101)]))
        for name, values in (('AP', precisions), ('AR', recalls)):
            result[name + label] = np.mean(values) if values else -1.
            if not label:
                result[f'{name} .5'], result[f'{name} .75'] = (
                    (values[0], values[5]) if values else (-1., -1.))
    return result

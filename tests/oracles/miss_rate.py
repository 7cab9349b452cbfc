"""Log-average miss rate by plain loops, one box at a time, as CityPersons' protocol is told."""

import math

SETUPS = {'Reasonable': ((50, 1e10), (.65, 1e10)), 'Small': ((50, 75), (.65, 1e10)),
          'Heavy': ((50, 1e10), (.2, .65)), 'All': ((20, 1e10), (.2, 1e10))}
POINTS = (.01, .0178, .0316, .0562, .1, .1778, .3162, .5623, 1.)


def intersection(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    return w * h if w > 0 and h > 0 else 0.


def area(a):
    return (a[2] - a[0]) * (a[3] - a[1])


def outcomes(detections, scores, boxes, visibility, ignore, heights, shares):
    """[(score, 'true' or 'false')] of one image in the order of scores, and its pedestrians."""
    people, regions = [], []
    for box, visible, ignored in zip(boxes, visibility, ignore, strict=True):
        height = box[3] - box[1]
        counts = (not ignored and heights[0] <= height <= heights[1]
                  and shares[0] <= visible <= shares[1])
        (people if counts else regions).append(box)
    order = sorted(range(len(scores)), key=lambda i: -scores[i])[:1000]
    taken, result = set(), []
    for i in order:
        box = detections[i]
        if not heights[0] / 1.25 <= box[3] - box[1] < heights[1] * 1.25:
            continue
        best, choice = .5, None
        for j, person in enumerate(people):
            both = intersection(box, person)
            overlap = both / (area(box) + area(person) - both) if both else 0.
            if j not in taken and overlap >= best:
                best, choice = overlap, j
        if choice is not None:
            taken.add(choice)
            result.append((scores[i], 'true'))
            continue
        absorbed = False
        for region in regions:
            both = intersection(box, region)
            if both and both / area(box) >= .5:
                absorbed = True
        if not absorbed:
            result.append((scores[i], 'false'))
    return result, len(people)


def log_average_miss_rate(detections, scores, boxes, visibility, ignore):
    results = {}
    for name, (heights, shares) in SETUPS.items():
        everything, pedestrians = [], 0
        images = list(zip(detections, scores, boxes, visibility, ignore, strict=True))
        for image in images:
            found, number = outcomes(*image, heights, shares)
            everything += found
            pedestrians += number
        everything.sort(key=lambda one: -one[0])
        if pedestrians == 0:
            results[name] = math.nan
            continue
        curve, true, false = [], 0, 0
        for _, kind in everything:
            true += kind == 'true'
            false += kind == 'false'
            curve.append((false / len(images), true / pedestrians))
        product = 1.
        for point in POINTS:
            if not curve:
                recall = 0.
            else:
                below = [recall for fppi, recall in curve if fppi <= point]
                recall = below[-1] if below else curve[-1][1]
            product *= 1 - recall
        results[name] = 100 * product ** (1 / 9)
    return results

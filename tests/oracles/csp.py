"""Center and Scale Prediction, one cell at a time."""

import math

import torch


def targets(boxes, ignored, map_size, stride, radius, min_width):
    """The maps of one image, as nested lists [y][x]; a cell without a size or offset has None."""
    height, width = map_size
    gauss = [[0.] * width for _ in range(height)]
    weight = [[1.] * width for _ in range(height)]
    size = [[None] * width for _ in range(height)]
    offset = [[None] * width for _ in range(height)]
    ignored, people = [tuple(box) for box in ignored], []
    for x1, y1, x2, y2 in boxes:
        cx, cy = (x1 + x2) / 2 / stride, (y1 + y2) / 2 / stride
        if x2 - x1 < min_width or not (0 <= cx < width and 0 <= cy < height):
            ignored.append((x1, y1, x2, y2))
        else:
            people.append((x1 / stride, y1 / stride, x2 / stride, y2 / stride, cx, cy))
    for y in range(height):
        for x in range(width):
            for x1, y1, x2, y2 in ignored:
                # any part of the cell is in the region
                if x2 > x1 and y2 > y1 and x < x2 / stride and x + 1 > x1 / stride \
                        and y < y2 / stride and y + 1 > y1 / stride:
                    weight[y][x] = 0.
            for x1, y1, x2, y2, cx, cy in people:
                centre = x == math.floor(cx) and y == math.floor(cy)
                if centre or (x1 <= x and x + 1 <= x2 and y1 <= y and y + 1 <= y2):
                    weight[y][x] = 1.
                    value = 1.
                    for at, middle, side in ((x, cx, x2 - x1), (y, cy, y2 - y1)):
                        sigma = 0.3 * ((side - 1) / 2 - 1) + 0.8
                        value *= math.exp(-(at - math.floor(middle))**2 / (2 * sigma**2))
                    gauss[y][x] = max(gauss[y][x], value)
                if abs(x - math.floor(cx)) <= radius and abs(y - math.floor(cy)) <= radius:
                    size[y][x] = (math.log(y2 - y1), math.log(x2 - x1))
                if centre:
                    offset[y][x] = (cy - y - 0.5, cx - x - 0.5)
    return gauss, weight, size, offset


def losses(center, scale, offset, maps):
    """Centre, size and offset loss of a batch, unweighted; ``maps`` holds ``targets`` by image.

    ``center``, ``scale`` and ``offset`` are tensors (B, C, H, W), so that gradients flow.
    """
    def smooth_l1(difference):
        difference = abs(difference)
        return 0.5 * difference**2 if difference < 1 else difference - 0.5

    center_sum, scale_terms, offset_terms, centers = torch.zeros(()).to(center), [], [], 0
    for b, (gauss, weight, size, shift) in enumerate(maps):
        for y in range(center.shape[2]):
            for x in range(center.shape[3]):
                p = torch.sigmoid(center[b, 0, y, x])
                if gauss[y][x] == 1:
                    centers += 1
                    center_sum = center_sum - (1 - p)**2 * torch.log(p)
                elif weight[y][x]:
                    center_sum = center_sum - (1 - gauss[y][x])**4 * p**2 * torch.log(1 - p)
                if size[y][x]:
                    scale_terms += [smooth_l1(scale[b, c, y, x] / size[y][x][c] - 1)
                                    for c in range(scale.shape[1])]
                if shift[y][x]:
                    offset_terms += [smooth_l1(offset[b, c, y, x] - shift[y][x][c])
                                     for c in range(2)]
    return (center_sum / max(centers, 1), sum(scale_terms) / max(len(scale_terms), 1),
            sum(offset_terms) / max(centers, 1))


def decode(center, scale, offset, stride, image_size, aspect_ratio, score_thr):
    """Boxes and scores of one image, (1 or 2, H, W) maps, best first, before NMS."""
    found = []
    for y in range(center.shape[1]):
        for x in range(center.shape[2]):
            score = 1 / (1 + math.exp(-float(center[0, y, x])))
            if score <= score_thr:
                continue
            height = math.exp(float(scale[0, y, x])) * stride
            width = math.exp(float(scale[1, y, x])) * stride if len(scale) == 2 \
                else height * aspect_ratio
            cy = (y + 0.5 + float(offset[0, y, x])) * stride
            cx = (x + 0.5 + float(offset[1, y, x])) * stride
            found.append((score, min(max(cx - width / 2, 0), image_size[1]),
                          min(max(cy - height / 2, 0), image_size[0]),
                          min(max(cx + width / 2, 0), image_size[1]),
                          min(max(cy + height / 2, 0), image_size[0])))
    return sorted(found, reverse=True)


def nms(found, threshold):
    """Keep a box unless a better one that is kept overlaps it by more than ``threshold``."""
    def iou(a, b):
        wide = min(a[3], b[3]) - max(a[1], b[1])
        high = min(a[4], b[4]) - max(a[2], b[2])
        shared = max(wide, 0) * max(high, 0)
        area = [(c[3] - c[1]) * (c[4] - c[2]) for c in (a, b)]
        return shared / max(sum(area) - shared, 1e-9)

    kept = []
    for one in found:
        if all(iou(one, other) <= threshold for other in kept):
            kept.append(one)
    return kept

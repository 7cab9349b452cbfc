"""Operators on boxes: overlaps, and the three kinds of non-maximum suppression.

Boxes are rows of x1, y1, x2, y2 in pixels; ``offset`` (0 or 1) is added to widths and heights.
Arguments have the names and places that the Python side of mmcv 2.1 gives them. Thresholds are
rounded to float32, as a C++ float is: on a grid, an IoU of exactly 0.3 is common.
"""

import numpy as np
import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices of the boxes that are kept, best score first.

    Equal scores are taken in the order of torch's default sort, as mmcv takes them. It is not
    stable, so torchvision gets the boxes sorted, with their ranks as scores.

    Args:
        boxes: (n, 4).
        scores: (n,).
        iou_threshold: A box goes if its IoU with a better one that stays is above this.
        offset: 0 or 1.

    Returns:
        (k,), int64.
    """
    order = scores.sort(0, descending=True)[1]
    boxes = boxes[order].float()
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], 1)
    ranks = torch.arange(len(order), 0, -1, dtype=torch.float32, device=boxes.device)
    return order[torch.ops.torchvision.nms(boxes, ranks, float(np.float32(iou_threshold)))]


def softnms(boxes: Tensor, scores: Tensor, dets: Tensor, iou_threshold: float, sigma: float,
            min_score: float, method: int, offset: int) -> Tensor:
    """Soft-NMS of Bodla et al. 2017: scores decay with the overlap with better boxes.

    In every round the best box left is moved to the front, the others' scores decay, and the holes
    of those below ``min_score`` are filled from the end: this order decides between equal scores.

    Args:
        boxes: (n, 4), on the CPU.
        scores: (n,).
        dets: (n, 5): its first k rows become boxes and decayed scores.
        iou_threshold: From this IoU on, the methods 0 and 1 take effect.
        sigma: Width of the Gaussian of method 2.
        min_score: Boxes go once their score is below this.
        method: 0: to 0; 1: times 1 - IoU; 2: times exp(-IoU^2 / sigma).
        offset: 0 or 1.

    Returns:
        (k,), int64: the indices of the boxes of ``dets``.
    """
    threshold, sigma, min_score = np.float32([iou_threshold, sigma, min_score])
    rows = torch.column_stack([boxes, scores]).detach().float().numpy()
    kept = np.arange(len(rows))
    for first in range(len(rows)):
        if first >= len(rows):
            break
        # a score of two boxes without area becomes nan in method 2: no comparison moves it
        best = first if np.isnan(rows[first, 4]) else first + np.nanargmax(rows[first:, 4])
        rows[[first, best]], kept[[first, best]] = rows[[best, first]], kept[[best, first]]
        rest = rows[first + 1:]
        iou = _iou(rows[first], rest, offset)
        if method == 2:
            rest[:, 4] *= np.exp(-(iou * iou) / sigma)
        else:
            rest[:, 4] *= np.where(iou >= threshold, 1 - iou if method else 0, 1).astype(iou.dtype)
        stay = ~(rest[:, 4] < min_score)
        places = np.arange(first + 1, len(rows))
        count = first + 1 + stay.sum()
        last = places[stay & (places >= count)][::-1]
        holes = places[~stay & (places < count)]
        rows[holes], kept[holes] = rows[last], kept[last]
        rows, kept = rows[:count], kept[:count]
    dets[:len(rows)] = torch.from_numpy(rows)
    return torch.from_numpy(kept)


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group boxes: each that NMS keeps, and then those it suppresses, by falling scores.

    Args:
        dets: (n, 5): boxes and scores, on the CPU.
        iou_threshold: A box belongs to a better one from this IoU on.

    Returns:
        Per box that is kept: the indices of its group, itself first.
    """
    order = dets[:, 4].contiguous().sort(0, descending=True)[1].numpy()
    rows = dets.float().numpy()
    groups = []
    while len(order):
        first, rest = order[0], order[1:]
        same = _iou(rows[first], rows[rest], 0) >= np.float32(iou_threshold)
        groups.append([int(first), *rest[same].tolist()])
        order = rest[~same]
    return groups


def _iou(box: np.ndarray, others: np.ndarray, offset: int) -> np.ndarray:
    width, height = (np.maximum(
        0, np.minimum(box[end], others[:, end]) - np.maximum(box[start], others[:, start])
        + np.float32(offset)) for start, end in ((0, 2), (1, 3)))
    inter = width * height
    areas = _area(others, offset) + _area(box[None], offset)
    with np.errstate(invalid='ignore', divide='ignore'):  # boxes without area
        return inter / (areas - inter)


def _area(boxes: np.ndarray, offset: int) -> np.ndarray:
    one = np.float32(offset)
    return (boxes[:, 2] - boxes[:, 0] + one) * (boxes[:, 3] - boxes[:, 1] + one)


def bbox_overlaps(bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool,
                  offset: int) -> None:
    """Fill ``ious`` with the overlaps of boxes: of all pairs, or row by row if ``aligned``.

    Args:
        bboxes1: (m, 4).
        bboxes2: (n, 4); n = m if ``aligned``.
        ious: (m, n), or (m,) if ``aligned``.
        mode: 0: intersection over union; 1: over the area of the first.
        aligned: See above.
        offset: 0 or 1.
    """
    first = bboxes1 if aligned else bboxes1[:, None]
    low = torch.max(first[..., :2], bboxes2[..., :2])
    high = torch.min(first[..., 2:], bboxes2[..., 2:])
    inter = (high - low + offset).clamp(min=0).prod(-1)
    area1, area2 = ((boxes[..., 2:] - boxes[..., :2] + offset).prod(-1)
                    for boxes in (first, bboxes2))
    ious.copy_(inter / (area1 if mode else area1 + area2 - inter))

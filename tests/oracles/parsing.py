"""Intersection over union with sets of pixels."""

import math


def parsing_iou(predictions, labels, num_classes, ignore_index=255):
    said = {c: set() for c in range(num_classes)}
    real = {c: set() for c in range(num_classes)}
    right = total = 0
    for n, (prediction, label) in enumerate(zip(predictions, labels, strict=True)):
        for y in range(len(label)):
            for x in range(len(label[0])):
                if label[y][x] == ignore_index:
                    continue
                total += 1
                right += prediction[y][x] == label[y][x]
                said[prediction[y][x]].add((n, y, x))
                real[label[y][x]].add((n, y, x))
    iou = [100 * len(said[c] & real[c]) / len(said[c] | real[c]) if said[c] | real[c] else math.nan
           for c in range(num_classes)]
    present = [value for value in iou if not math.isnan(value)]
    return {'iou': iou, 'mIoU': sum(present) / len(present), 'pixel_accuracy': 100 * right / total}

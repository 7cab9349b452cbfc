"""Attribute scores counted by hand, entry by entry."""

import math


def attribute_metrics(probabilities, labels, threshold=0.5):
    num_images, num_attributes = len(labels), len(labels[0])
    per_attribute = []
    for a in range(num_attributes):
        counts = {'tp': 0, 'fn': 0, 'tn': 0, 'fp': 0}
        for i in range(num_images):
            says = probabilities[i][a] > threshold
            if labels[i][a] == 1:
                counts['tp' if says else 'fn'] += 1
            elif labels[i][a] == 0:
                counts['fp' if says else 'tn'] += 1
        positives, negatives = counts['tp'] + counts['fn'], counts['tn'] + counts['fp']
        if positives and negatives:
            per_attribute.append(50 * (counts['tp'] / positives + counts['tn'] / negatives))
        else:
            per_attribute.append(math.nan)
    defined = [value for value in per_attribute if not math.isnan(value)]
    accuracy, precision, recall = [], [], []
    for i in range(num_images):
        known = [a for a in range(num_attributes) if labels[i][a] != -1]
        if not known:
            continue
        real = {a for a in known if labels[i][a] == 1}
        said = {a for a in known if probabilities[i][a] > threshold}
        both = len(real & said)
        accuracy.append(both / len(real | said) if real | said else 0)
        precision.append(both / len(said) if said else 0)
        recall.append(both / len(real) if real else 0)
    p, r = (100 * sum(values) / len(values) for values in (precision, recall))
    return {'mA': sum(defined) / len(defined) if defined else math.nan,
            'accuracy': 100 * sum(accuracy) / len(accuracy), 'precision': p, 'recall': r,
            'F1': 2 * p * r / (p + r) if p + r else 0., 'per_attribute': per_attribute}

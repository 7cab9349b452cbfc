"""mmseg's IoUMetric, which scores the parsing recipes, against sets of pixels."""

import math

import pytest
import torch

from tests.oracles import parsing as oracle

pytest.importorskip('mmseg', reason='needs mmseg')

from mmseg.evaluation import IoUMetric

CLASSES = 20


def host(predictions, labels):
    metric = IoUMetric(iou_metrics=['mIoU'])
    metric.dataset_meta = dict(classes=[str(number) for number in range(CLASSES)])
    metric.process({}, [dict(pred_sem_seg=dict(data=prediction[None]),
                             gt_sem_seg=dict(data=label[None]))
                        for prediction, label in zip(predictions, labels, strict=True)])
    return metric.evaluate(len(predictions))


def problem(seed, classes=CLASSES):
    """Maps of different sizes that are mostly right, with pixels that count nowhere."""
    generator = torch.Generator().manual_seed(seed)
    labels = [torch.randint(0, classes, (8 + i, 6), generator=generator) for i in range(5)]
    predictions = [torch.where(torch.rand(label.shape, generator=generator) < .7, label,
                               torch.randint(0, CLASSES, label.shape, generator=generator))
                   for label in labels]
    for label in labels:
        label[torch.rand(label.shape, generator=generator) < .1] = 255
    return predictions, labels


@pytest.mark.parametrize('change', ['', 'few classes', 'one image ignored', 'all wrong', 'right'])
@pytest.mark.parametrize('seed', range(3))
def test_equals_sets_of_pixels(seed, change):
    predictions, labels = problem(seed, classes=4 if change == 'few classes' else CLASSES)
    if change == 'one image ignored':
        labels[2][:] = 255
    elif change == 'all wrong':
        predictions = [(label + 1) % CLASSES for label in labels]
    elif change == 'right':
        predictions = [label.clamp(max=CLASSES - 1) for label in labels]
    result = host(predictions, labels)
    expected = oracle.parsing_iou([map_.tolist() for map_ in predictions],
                                  [map_.tolist() for map_ in labels], CLASSES)
    assert result['mIoU'] == pytest.approx(expected['mIoU'], abs=.0051)  # it rounds to 0.01
    assert result['aAcc'] == pytest.approx(expected['pixel_accuracy'], abs=.0051)
    if change in ('all wrong', 'right'):
        assert result['mIoU'] == (0 if change == 'all wrong' else 100)


def test_nothing_labelled_is_no_score():
    predictions, labels = problem(0)
    result = host(predictions, [torch.full_like(label, 255) for label in labels])
    assert math.isnan(result['mIoU'])

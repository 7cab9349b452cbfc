import numpy as np
import pytest

from clasp_mm.evaluation.functional import ConfusionMatrix, parsing_iou
from tests.oracles import parsing as oracle


def problem(seed, number=4, size=(9, 7), classes=6):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes - 1, (number, *size)).astype(np.uint8)  # the last is absent
    predictions = np.where(rng.random(labels.shape) < .6, labels,
                           rng.integers(0, classes - 1, labels.shape))
    labels[rng.random(labels.shape) < .1] = 255
    return predictions, labels


@pytest.mark.parametrize('seed', range(4))
def test_equals_sets_of_pixels(seed):
    predictions, labels = problem(seed)
    if seed % 2:
        predictions[0, 0] = 5  # predicted, never right
    result, expected = parsing_iou(predictions, labels, 6), oracle.parsing_iou(
        predictions, labels, 6)
    np.testing.assert_allclose(result['iou'], expected['iou'])
    assert result['mIoU'] == pytest.approx(expected['mIoU'])
    assert result['pixel_accuracy'] == pytest.approx(expected['pixel_accuracy'])
    assert np.isnan(result['accuracy'][5])


def test_by_hand():
    result = parsing_iou([[[0, 0, 1, 1]]], [[[0, 1, 1, 255]]], 3)
    assert result['iou'][:2].tolist() == [50., 50.] and np.isnan(result['iou'][2])
    assert result['mIoU'] == 50. and result['pixel_accuracy'] == pytest.approx(200 / 3)
    assert result['accuracy'][:2].tolist() == [100., 50.] and result['mean_accuracy'] == 75.


def test_a_set_in_parts_is_the_set():
    predictions, labels = problem(3)
    matrix = ConfusionMatrix(6)
    matrix.update(predictions[:3], labels[:3])
    matrix.update(predictions[3, :4], labels[3, :4])
    matrix.update(predictions[3, 4:], labels[3, 4:])
    matrix.update(predictions[3, :0], labels[3, :0])
    assert matrix.compute()['mIoU'] == parsing_iou(predictions, labels, 6)['mIoU']


def test_maps_of_different_sizes_and_another_ignore_index():
    predictions = [np.zeros((2, 3), int), np.ones((4, 1), int)]
    labels = [np.zeros((2, 3), int), np.array([[1], [1], [9], [0]])]
    result = parsing_iou(predictions, labels, 2, ignore_index=9)
    assert result['iou'].tolist() == [pytest.approx(600 / 7), pytest.approx(200 / 3)]


@pytest.mark.parametrize('prediction, label, words', [
    (np.zeros((2, 2), int), np.zeros((2, 3), int), r'\(2, 2\) and label \(2, 3\)'),
    (np.full((2, 2), 4), np.zeros((2, 2), int), 'prediction holds classes 4 to 4'),
    (np.zeros((2, 2), int), np.full((2, 2), 3), 'label holds classes 3 to 3'),
    (np.full((2, 2), -1), np.zeros((2, 2), int), 'prediction holds classes -1'),
    (np.zeros((2, 2)), np.zeros((2, 2), int), 'integer classes, got float64')])
def test_wrong_maps(prediction, label, words):
    matrix = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=words):
        matrix.update(prediction, label)
    assert not matrix.counts.any()


def test_what_is_ignored_may_be_predicted_anything():
    assert parsing_iou([[[99, 0, 1]]], [[[255, 0, 1]]], 2)['mIoU'] == 100.


def test_nothing_to_score():
    with pytest.raises(ValueError, match='no pixel'):
        parsing_iou([[[0]]], [[[255]]], 2)
    with pytest.raises(ValueError, match='two classes'):
        ConfusionMatrix(1)
    with pytest.raises(ValueError, match='shorter'):
        parsing_iou([[[0]], [[0]]], [[[0]]], 2)

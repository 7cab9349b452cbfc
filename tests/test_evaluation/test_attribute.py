import numpy as np
import pytest

from clasp_mm.evaluation.functional import attribute_metrics
from tests.oracles import attribute as oracle


@pytest.mark.parametrize('threshold', [.5, .3])
@pytest.mark.parametrize('seed', range(4))
def test_equals_counting(seed, threshold):
    rng = np.random.default_rng(seed)
    labels = rng.choice([1, 0, -1], size=(40, 7), p=[.3, .5, .2])
    labels[:, 2] = 0                # an attribute without positives
    labels[5] = -1                  # an image with nothing known
    labels[6] = 0                   # an image without attributes
    probabilities = rng.random((40, 7)).round(1)
    probabilities[6] = 0.
    result = attribute_metrics(probabilities, labels, threshold)
    expected = oracle.attribute_metrics(probabilities, labels, threshold)
    for name in ('mA', 'accuracy', 'precision', 'recall', 'F1'):
        assert result[name] == pytest.approx(expected[name]), name
    np.testing.assert_allclose(result['per_attribute']['mA'], expected['per_attribute'])
    assert result['num_undefined'] == 1 and np.isnan(result['per_attribute']['tpr'][2])


def test_by_hand():
    labels = np.array([[1, 0], [1, 1], [0, 0], [0, -1]])
    probabilities = np.array([[.9, .8], [.5, .6], [.1, .2], [.7, .9]])  # .5 is not above .5
    result = attribute_metrics(probabilities, labels)
    assert result['per_attribute']['tpr'].tolist() == [50., 100.]
    assert result['per_attribute']['tnr'].tolist() == [50., 50.]
    assert result['per_attribute']['num_positive'].tolist() == [2, 1]
    assert result['per_attribute']['num_negative'].tolist() == [2, 2]
    assert result['mA'] == (50 + 75) / 2
    assert result['accuracy'] == pytest.approx(100 * (1 / 2 + 1 / 2 + 0 + 0) / 4)
    assert result['precision'] == pytest.approx(100 * (1 / 2 + 1 + 0 + 0) / 4)
    assert result['recall'] == pytest.approx(100 * (1 + 1 / 2 + 0 + 0) / 4)
    assert result['F1'] == pytest.approx(100 * .375)


def test_a_mean_of_nothing_is_nan():
    """No attribute has both values; the sets of the images: {a} and {a}, {a, b} and {b}."""
    result = attribute_metrics([[.9, .1], [.2, .8]], [[1, -1], [1, 1]])
    assert np.isnan(result['mA']) and result['num_undefined'] == 2
    assert result['accuracy'] == (100 / 1 + 100 / 2) / 2 and result['precision'] == 100
    assert result['recall'] == (100 + 50) / 2
    result = attribute_metrics([[.9, .1]], [[-1, -1]])  # and nothing known of an image
    assert all(np.isnan(result[name]) for name in ('mA', 'accuracy', 'precision', 'recall', 'F1'))


def test_what_is_unknown_changes_nothing():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (30, 5))
    labels[rng.random(labels.shape) < .3] = -1
    probabilities = rng.random((30, 5))
    other = np.where(labels == -1, 1 - probabilities, probabilities)
    first, second = (attribute_metrics(values, labels) for values in (probabilities, other))
    for name in ('mA', 'accuracy', 'precision', 'recall', 'F1'):
        assert first[name] == second[name]


def test_nothing_right_is_zero():
    labels = np.array([[1, 0], [0, 1]])
    result = attribute_metrics(1. - labels, labels)
    assert [result[name] for name in ('mA', 'accuracy', 'precision', 'recall', 'F1')] == [0.] * 5


@pytest.mark.parametrize('probabilities, labels, words', [
    (np.zeros((3, 2)), np.zeros((3, 3), int), r'\(3, 2\) and \(3, 3\)'),
    (np.zeros((0, 2)), np.zeros((0, 2), int), 'not empty'),
    (np.zeros(3), np.zeros(3, int), r'\(3,\)'),
    (np.full((3, 2), 1.5), np.zeros((3, 2), int), 'sigmoid'),
    (np.full((3, 2), np.nan), np.zeros((3, 2), int), 'nan'),
    (np.zeros((3, 2)), np.full((3, 2), 2), r'\[2\]')])
def test_wrong_input(probabilities, labels, words):
    with pytest.raises(ValueError, match=words):
        attribute_metrics(probabilities, labels)

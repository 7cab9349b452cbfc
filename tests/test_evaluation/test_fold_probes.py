import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from clasp_mm.evaluation.probes.folds import (
    as_rows,
    fold_attributes,
    fold_classes,
    make_folds,
    predict_attributes,
)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=120)
    features = rng.normal(size=(3, 6))[labels] + 1.2 * rng.normal(size=(120, 6))
    return features.astype(np.float32), labels


def test_classes_are_those_of_scikit_learn_on_the_other_folds(data):
    features, labels = data
    fold = make_folds(np.arange(120))
    learned = np.where(np.arange(120) % 7 == 0, -1, labels)  # some are not to learn from
    found = fold_classes(features, learned, fold, 1e-2, max_iter=200)
    for part in range(4):
        train, test = (fold != part) & (learned >= 0), fold == part
        scaler = StandardScaler().fit(features[train])
        model = LogisticRegression(C=1 / (1e-2 * train.sum()), tol=1e-8, max_iter=1000)
        model.fit(scaler.transform(features[train]), labels[train])
        expected = model.predict(scaler.transform(features[test]))
        assert (found[test] == expected).mean() > .96  # one of thirty may lie on the border
    assert .5 < (found == labels).mean() < 1


def test_attributes_are_those_of_the_probe_on_the_other_folds(data):
    features, labels = data
    known = np.stack([labels == 0, labels == 1], 1).astype(np.int8)
    known[::5, 1] = -1
    fold = make_folds(np.arange(120))
    rows = as_rows('features', features)
    found = fold_attributes(rows, known, fold, 1e-2)
    for part in range(4):
        expected = predict_attributes(rows[fold != part], known[fold != part], rows[fold == part],
                                       1e-2, 60)
        np.testing.assert_array_equal(found[fold == part], expected)


def test_no_image_is_judged_by_what_learned_from_it(data):
    features, labels = data
    fold = make_folds(np.arange(120))
    labels = labels.copy()
    before = fold_classes(features, labels, fold, 1e-2)
    labels[0] = (labels[0] + 1) % 3
    after = fold_classes(features, labels, fold, 1e-2)
    np.testing.assert_array_equal(before[fold == fold[0]], after[fold == fold[0]])


def test_folds_keep_people_together_and_spread_classes():
    people = np.repeat(np.arange(24), 5)
    classes = np.repeat(np.arange(24) % 3, 5)
    fold = make_folds(people, classes)
    assert all(len(set(fold[people == person])) == 1 for person in range(24))
    counts = np.array([[np.sum((fold == part) & (classes == c)) for c in range(3)]
                       for part in range(4)])
    assert (counts == 10).all()
    with pytest.raises(ValueError, match='number of groups or identities, 3'):
        make_folds([1, 1, 5, 9])

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from clasp_mm.evaluation.probes.classes import knn_accuracy, linear_accuracy


@pytest.fixture
def data():
    """Three overlapping classes: train, labels, val, labels."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 6))
    labels = rng.integers(3, size=140)
    features = (centres[labels] + 1.2 * rng.normal(size=(140, 6))).astype(np.float32)
    return features[:90], labels[:90], features[90:], labels[90:]


def knn_oracle(train, train_labels, val, val_labels, k, temperature):
    hits = 0
    for feature, label in zip(val.astype(float), val_labels, strict=True):
        cosines = [float(feature @ other / np.linalg.norm(feature) / np.linalg.norm(other))
                   for other in train.astype(float)]
        votes = [0.] * 3
        for i in sorted(range(len(train)), key=lambda i: -cosines[i])[:k]:
            votes[train_labels[i]] += np.exp(cosines[i] / temperature)
        hits += int(np.argmax(votes)) == label
    return 100 * hits / len(val)


@pytest.mark.parametrize('k', [1, 5, 20, 1000])
def test_knn_equals_the_oracle(data, k):
    expected = knn_oracle(*data, k=k, temperature=0.07)
    assert knn_accuracy(*data, k=k) == pytest.approx(expected)
    assert 40 < expected < 100  # neither chance nor trivial


def test_linear_probe_equals_scikit_learn(data):
    train, labels, val, val_labels = data
    scaler = StandardScaler().fit(train)
    model = LogisticRegression(C=1 / (1e-3 * len(train)), tol=1e-8, max_iter=1000)
    model.fit(scaler.transform(train), labels)
    assert linear_accuracy(*data, max_iter=200) == pytest.approx(
        100 * model.score(scaler.transform(val), val_labels), abs=2.1)  # one image


def test_wrong_shapes_are_refused(data):
    train, labels, val, val_labels = data
    with pytest.raises(ValueError, match='do not match'):
        knn_accuracy(train, labels[:-1], val, val_labels)
    with pytest.raises(ValueError, match='do not match'):
        linear_accuracy(train, labels, val[:, :-1], val_labels)
    with pytest.raises(ValueError, match='not finite'):
        knn_accuracy(train, labels, torch.full(val.shape, torch.nan), val_labels)

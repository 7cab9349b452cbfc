import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from clasp_mm.evaluation import linear_probe_attributes, linear_probe_segmentation
from clasp_mm.evaluation.probes.folds import predict_attributes
from clasp_mm.evaluation.probes.linear import _class_shares


def people(seed, number, channels=12, noise=1., classes=4):
    """Token features (N, C, 8, 4) that know their class up to noise, and (N, 32, 16) maps."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, channels))
    coarse = rng.integers(0, classes, (number, 8, 4))
    features = centres[coarse] + noise * rng.normal(size=(*coarse.shape, channels))
    features = features * np.linspace(.01, 100, channels) + 7  # channels of unlike scale
    return (features.transpose(0, 3, 1, 2).astype(np.float32),
            coarse.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8))


# Segmentation

def test_tells_features_that_know_from_those_that_do_not():
    def score(noise):
        return linear_probe_segmentation(
            *people(0, 60, noise=noise), *people(1, 40, noise=noise), num_classes=4)['mIoU']

    informed, noisy, blind = score(.3), score(1.5), score(1e4)
    # bilinear logits blur the borders between cells of random labels
    assert informed > 60 > noisy > blind and blind < 22


def test_segmentation_is_the_logistic_regression_it_says():
    features, maps = people(3, 30, noise=2.)
    tokens = features.transpose(0, 2, 3, 1).reshape(-1, 12)
    scaled = (tokens - tokens.mean(axis=0)) / tokens.std(axis=0)
    labels = maps[:, ::4, ::4].ravel()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        reference = LogisticRegression(C=1 / (1e-2 * len(labels)), tol=1e-8, max_iter=2000)
        reference.fit(scaled, labels)
    ours = linear_probe_segmentation(
        features, maps, features, maps[:, ::4, ::4], num_classes=4, l2=1e-2, max_iter=300)
    assert ours['pixel_accuracy'] == pytest.approx(
        100 * reference.score(scaled, labels), abs=.21)  # 2 of 960 tokens


def test_targets_are_shares_of_classes():
    """Cells of 2 x 3 pixels, one of them unknown; and sizes that do not divide."""
    label = np.array([[[0, 0, 1, 2, 2, 2], [0, 255, 1, 2, 255, 255]]])
    shares = _class_shares(label, (1, 5, 1, 2), 3)
    np.testing.assert_allclose(shares, np.array([[3, 2, 0], [0, 0, 4]]) / 6, rtol=1e-6)
    uneven = _class_shares(np.array([[[0, 1, 1], [2, 1, 1], [2, 1, 1]]]), (1, 5, 2, 2), 3)
    np.testing.assert_allclose(  # rows {0, 1} {2}, columns {0, 1} {2}
        uneven, np.array([[1 / 4, 1 / 2, 1 / 4], [0, 1, 0], [0, 1 / 2, 1 / 2], [0, 1, 0]]))


def test_ignored_labels_teach_and_count_nothing():
    features, maps = people(0, 40, noise=.3)
    val_features, val_maps = people(1, 20, noise=.3)
    clean = linear_probe_segmentation(features, maps, val_features, val_maps, 4)
    features = np.concatenate([features, 1e3 * np.ones_like(features[:10])])
    maps = np.concatenate([maps, np.full_like(maps[:10], 255)])
    val_features = np.concatenate([val_features, features[-5:]])
    val_maps = np.concatenate([val_maps, maps[-5:]])
    assert linear_probe_segmentation(
        features, maps, val_features, val_maps, 4)['mIoU'] == pytest.approx(clean['mIoU'])


def test_segmentation_repeats_and_does_not_hang_on_a_seed():
    data = (*people(0, 30), *people(1, 20))
    torch.manual_seed(1)
    first = linear_probe_segmentation(*data, 4, max_tokens=500)['mIoU']
    torch.manual_seed(2)
    assert linear_probe_segmentation(*data, 4, max_tokens=500)['mIoU'] == first
    assert abs(linear_probe_segmentation(*data, 4)['mIoU'] - first) < 5


@pytest.mark.parametrize('change, words', [
    (dict(train_feats=np.zeros((5, 12, 8, 4))), r'must be \(5, H, W\)'),
    (dict(train_feats=np.zeros((30, 12, 64, 4))), '64 x 4'),
    (dict(val_feats=np.zeros((20, 11, 8, 4))), '12 channels, val_feats 11'),
    (dict(val_maps=np.zeros((19, 32, 16), int)), '20 val_feats but 19 val_maps'),
    (dict(train_maps=np.full((30, 32, 16), 4)), 'class 4'),
    (dict(train_maps=np.full((30, 32, 16), 255)), 'nothing to learn'),
    (dict(train_feats=np.full((30, 12, 8, 4), np.nan)), 'train_feats hold values'),
    (dict(val_feats=np.zeros((0, 12, 8, 4))), 'at least one image')])
def test_wrong_maps(change, words):
    names = ('train_feats', 'train_maps', 'val_feats', 'val_maps')
    data = dict(zip(names, (*people(0, 30), *people(1, 20)), strict=True))
    with pytest.raises(ValueError, match=words):
        linear_probe_segmentation(**{**data, **change}, num_classes=4)


# Attributes

def crowd(seed, identities, images=4, channels=24, noise=1.):
    """Features that know 3 of 4 rare attributes, and an identity besides."""
    rng = np.random.default_rng(seed)
    world = np.random.default_rng(99)
    directions = world.normal(size=(3, channels))
    labels = (rng.random((identities, 4)) < (.5, .2, .1, .3)).astype(int)
    own = rng.normal(size=(identities, channels))
    features = (labels[:, :3] * 2 @ directions + own).repeat(images, axis=0)
    features = features + noise * rng.normal(size=features.shape)
    labels = labels.repeat(images, axis=0)
    labels[rng.random(labels.shape) < .1] = -1
    return features * np.linspace(.1, 10, channels), labels, np.arange(identities).repeat(images)


def test_finds_the_attributes_that_are_there():
    val_features, val_labels, _ = crowd(1, 100)
    result = linear_probe_attributes(*crowd(0, 100), val_features, val_labels)
    table = result['per_attribute']
    assert (table['mA'][:3] > 90).all() and 35 < table['mA'][3] < 65
    # a balanced fit answers for the rare side as well as for the common one
    assert np.abs(table['tpr'] - table['tnr'])[:3].max() < 15


def test_strength_is_chosen_by_identity():
    """Attributes that are random by identity: folds by image would find them predictable."""
    rng = np.random.default_rng(0)
    ids = np.arange(60).repeat(6)
    own = rng.normal(size=(60, 80))
    features = own[ids] + .05 * rng.normal(size=(360, 80))
    labels = rng.integers(0, 2, (60, 5))[ids]
    labels[:, 0] = own[ids, 0] + own[ids, 1] > 0
    data = features, labels, ids, features, labels
    choices = (1e-4, 10.)
    assert linear_probe_attributes(*data, l2_choices=choices)['l2'] == 10.
    singles = features, labels, np.arange(360), features, labels
    assert linear_probe_attributes(*singles, l2_choices=choices)['l2'] == 1e-4


def test_attributes_are_the_balanced_logistic_regression_they_say():
    features, labels, _ = crowd(2, 60)
    ours = predict_attributes(torch.from_numpy(features), labels, torch.from_numpy(features),
                               l2=1e-2, max_iter=500)
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    for attribute in range(4):
        known = labels[:, attribute] >= 0
        reference = LogisticRegression(
            C=1 / (1e-2 * known.sum()), class_weight='balanced', tol=1e-9, max_iter=5000)
        reference.fit(scaled[known], labels[known, attribute])
        np.testing.assert_allclose(
            ours[:, attribute], reference.predict_proba(scaled)[:, 1], atol=2e-4)


def test_an_attribute_known_from_one_side_is_given_it():
    features, labels, ids = crowd(0, 40)
    val_features, val_labels, _ = crowd(1, 80)
    labels[:, 1], labels[:, 2] = 1, np.where(labels[:, 2] == 1, -1, labels[:, 2])
    table = linear_probe_attributes(
        features, labels, ids, val_features, val_labels)['per_attribute']
    assert (table['tpr'][1], table['tnr'][1]) == (100., 0.)
    assert (table['tpr'][2], table['tnr'][2]) == (0., 100.)


def test_attribute_probe_repeats():
    data = (*crowd(0, 40), *crowd(1, 20)[:2])
    np.random.seed(0)
    first = linear_probe_attributes(*data)
    np.random.seed(5)
    again = linear_probe_attributes(*(torch.as_tensor(value) for value in data))
    assert first['mA'] == again['mA'] and first['l2'] == again['l2']


@pytest.mark.parametrize('change, words', [
    (dict(train_feats=np.zeros((9, 24))), 'train_feats'),
    (dict(train_ids=np.zeros(160, int)), 'num_folds=4 .* identities, 1'),
    (dict(train_ids=np.zeros(159, int)), r'\(159,\)'),
    (dict(val_feats=np.zeros((80, 23))), '24 channels, val_feats 23'),
    (dict(val_labels=np.zeros((79, 4), int)), r'\(79, 4\)'),
    (dict(val_feats=np.full((80, 24), np.inf)), 'val_feats hold')])
def test_wrong_arrays(change, words):
    names = ('train_feats', 'train_labels', 'train_ids', 'val_feats', 'val_labels')
    data = dict(zip(names, (*crowd(0, 40), *crowd(1, 20)[:2]), strict=True))
    with pytest.raises(ValueError, match=words):
        linear_probe_attributes(**{**data, **change})

"""Ridge regression, and the probes for keypoints and people made of it."""

import numpy as np
import pytest
import torch

from clasp_mm.evaluation.probes.dense import PeopleProbe, gaussians, linear_probe_keypoints
from clasp_mm.evaluation.probes.ridge import Ridge
from tests.oracles import dense_probes as oracle


@pytest.mark.parametrize('l2', [1e-3, 1.])
def test_ridge_equals_least_squares(l2):
    rng = np.random.default_rng(0)
    features = rng.normal(3, [1, 5, .01, 2], (200, 4)).astype(np.float32)
    targets = (features[:, :2] @ [[1.], [-.5]] + rng.normal(0, .1, (200, 1))).astype(np.float32)
    ridge = Ridge(4, 1)
    for part in np.split(np.arange(200), [7, 90]):  # batches do not matter
        ridge.add(torch.from_numpy(features[part]), torch.from_numpy(targets[part]))
    weight, bias = ridge.solve(l2)
    wanted, offset = oracle.ridge(features.astype(float), targets.astype(float), l2)
    assert np.allclose(weight, wanted, rtol=1e-4, atol=1e-5)
    assert np.allclose(bias, offset, rtol=1e-4, atol=1e-4)


def test_ridge_leaves_a_constant_feature_alone_and_refuses_nothing_and_nan():
    ridge = Ridge(2, 1)
    with pytest.raises(ValueError, match='no rows'):
        ridge.solve()
    x = torch.arange(6.)[:, None]
    ridge.add(torch.cat([x, torch.full_like(x, 7)], 1), 2 * x)
    weight, _ = ridge.solve(1e-9)
    assert torch.allclose(weight[:, 0], torch.tensor([2., 0.]), atol=1e-5)
    ridge.add(torch.tensor([[float('nan'), 1.]]), torch.tensor([[1.]]))
    with pytest.raises(ValueError, match='not finite'):
        ridge.solve()


def test_gaussians_equal_a_loop():
    points = torch.tensor([[1.2, 3.4], [5., 0.]])
    found = gaussians(points, torch.tensor([True, False]), (6, 4), 1.3)
    assert np.allclose(found[0], oracle.gaussian(1.2, 3.4, 6, 4, 1.3), atol=1e-6)
    assert not found[1].any()


def planted(rng, count, shape=(16, 8), stride=4):
    """Images whose features show two joints among noise, and the joints in pixels."""
    points = np.concatenate([
        rng.uniform((6, 6), (shape[1] * stride - 6, shape[0] * stride - 6), (count, 2, 2)),
        np.ones((count, 2, 1))], 2).astype(np.float32)
    heat = gaussians(torch.from_numpy(points[..., :2]) / stride, torch.ones(count, 2, dtype=bool),
                     shape, 1.)
    noise = torch.from_numpy(rng.normal(size=(count, 3, *shape))).float()
    mixed = torch.cat([heat[:, :1] + noise[:, :1], heat[:, 1:] - noise[:, :1], noise], 1)
    return mixed, points


def test_keypoints_that_lie_in_the_features_are_found():
    rng = np.random.default_rng(0)
    train, points = planted(rng, 40)
    val, truth = planted(rng, 20)
    assert linear_probe_keypoints(train, points, val, truth, (64, 32))['PCK'] > 97
    blind = torch.from_numpy(rng.normal(size=tuple(val.shape))).float()
    assert linear_probe_keypoints(blind[:20].repeat(2, 1, 1, 1), points, blind, truth,
                                  (64, 32))['PCK'] < 30


def test_joints_without_label_do_not_count():
    rng = np.random.default_rng(1)
    train, points = planted(rng, 40)
    val, truth = planted(rng, 10)
    score = linear_probe_keypoints(train, points, val, truth, (64, 32))['PCK']
    wrong = truth.copy()
    wrong[:, 1] = [0, 0, 0]  # no label, and no place where the joint would be
    found = linear_probe_keypoints(train, points, val, wrong, (64, 32))
    assert found['PCK'] >= score - 5
    right, labelled = found['counts'].T
    assert labelled.tolist() == [1] * 10 and (right <= 1).all()
    assert found['PCK'] == 100 * right.sum() / 10
    with pytest.raises(ValueError, match='no joint'):
        linear_probe_keypoints(train, points, val, truth * 0, (64, 32))


def scenes(rng, count):
    """Features that show centre and height of one or two people, and their boxes."""
    maps, boxes = torch.zeros(count, 3, 32, 64), []
    for image in range(count):
        own = []
        for side in range(int(rng.integers(1, 3))):
            tall, row, column = rng.integers(24, 60), rng.integers(9, 23), rng.integers(6, 26)
            column += 32 * side
            bump = gaussians(torch.tensor([column + .5, row + .5]), torch.tensor(True), (32, 64),
                             1.5)
            maps[image, 0] = torch.maximum(maps[image, 0], bump)
            maps[image, 1, row - 2:row + 3, column - 2:column + 3] = float(np.log(tall))
            x, y = (column + .5) * 4, (row + .5) * 4
            own.append([x - .2 * tall, y - tall / 2, x + .2 * tall, y + tall / 2])
        boxes.append(np.array(own))
    maps[:, 2] = torch.from_numpy(rng.normal(size=(count, 32, 64)))
    return maps, boxes


def test_people_that_lie_in_the_features_are_found_where_they_are():
    rng = np.random.default_rng(0)
    probe = PeopleProbe.fit([scenes(rng, 20), scenes(rng, 20)], stride=4, l2=1e-4)
    assert probe.aspect == pytest.approx(.4)
    maps, truth = scenes(rng, 10)
    for (boxes, scores), real in zip(probe.detect(maps, 4), truth, strict=True):
        best = boxes[np.argsort(-scores)[:len(real)]]
        distance = np.abs(best[:, None] - real[None]).max(2).min(0)
        assert distance.max() < 8


def test_a_scene_without_people_teaches_too_and_none_at_all_is_refused():
    rng = np.random.default_rng(0)
    maps, boxes = scenes(rng, 6)
    boxes[2] = np.zeros((0, 4))
    assert np.isfinite(PeopleProbe.fit([(maps, boxes)], 4).aspect)
    with pytest.raises(ValueError, match='no scene has a person'):
        PeopleProbe.fit([(maps, [np.zeros((0, 4))] * 6)], 4)

import cv2
import numpy as np
import pytest
import torch

import clasp_mm
from clasp_mm.evaluation.functional.verification import _threshold, verify
from clasp_mm.inferencers import reid
from clasp_mm.inferencers.verification import calibrate
from clasp_mm.synthetic import SyntheticPeople
from clasp_mm.visualization.similarity import draw_verification
from tests.oracles import verification as oracle


def people(seed, number=40, identities=8, noise=.7):
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, identities, number)
    return rng.normal(size=(identities, 5))[owner] + noise * rng.normal(size=(number, 5)), owner


@pytest.mark.parametrize('seed', range(4))
def test_rates_equal_the_loops(seed):
    features, owner = people(seed)
    same, different = oracle.pairs(features, owner)
    for rate in (.01, .1, .5):
        found = verify(features, owner, rate, bootstrap=20)
        edge = found.threshold + 1e-12  # the loops round otherwise
        matched = sum(value >= edge for value in different) / len(different)
        assert matched <= rate < matched + 1.5 / len(different) + 1e-12
        assert found.false_non_match_rate == pytest.approx(
            sum(value < edge for value in same) / len(same))
        assert found.low <= found.threshold <= found.high
    missed, matched = oracle.equal_error_rate(same, different)
    assert found.equal_error_rate == pytest.approx(
        (missed + matched) / 2, abs=1 / min(len(same), len(different)))
    assert (found.num_same, found.num_different) == (len(same), len(different))
    assert sum(found.same) == len(same) and sum(found.different) == len(different)
    place = int((np.mean(same) + 1) * 50)
    assert sum(found.same[place:]) == pytest.approx(
        sum(value >= place / 50 - 1 for value in same), abs=1)


def test_weights_of_the_bootstrap_are_repetitions():
    ranked = np.sort(np.random.default_rng(0).normal(size=30))[::-1]
    times = np.random.default_rng(1).integers(0, 4, 30)
    for rate in (.05, .2, .6):
        allowed = rate * times.sum()
        assert _threshold(ranked, times, allowed) == _threshold(
            np.repeat(ranked, times), np.ones(times.sum()), allowed)


@pytest.mark.parametrize('seed', range(3))
def test_interval_is_of_people_drawn_anew(seed):
    """Few of many people alike: their pairs lead the ranking, and many draws have none of them."""
    features, owner = people(seed, 200, 50)
    owner[:32] = np.arange(32) // 16
    features[:32] = 1 + 1e-3 * features[:32]
    rng, drawn = np.random.default_rng(0), []
    for _ in range(10):
        rows = [row for person in rng.integers(len(set(owner)), size=len(set(owner)))
                for row in np.flatnonzero(owner == np.unique(owner)[person])]
        _, different = oracle.pairs(features[rows], owner[rows])
        drawn.append(sorted(different)[-int(.001 * len(different)) - 1])
    found = verify(features, owner, .001, bootstrap=10)
    assert (found.low, found.high) == pytest.approx(np.percentile(drawn, (2.5, 97.5)), abs=1e-9)


def test_interval_covers_the_threshold_of_many_people():
    """Of 40 samples of 30 people, most intervals hold the threshold of 400."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(400, 5))
    owner = np.repeat(np.arange(400), 3)
    features = centres[owner] + .5 * rng.normal(size=(1200, 5))
    truth = verify(features, owner, .05, bootstrap=0).threshold
    covered = 0
    for _ in range(40):
        rows = np.isin(owner, rng.choice(400, 30, replace=False))
        found = verify(features[rows], owner[rows], .05, bootstrap=100)
        covered += found.low <= truth <= found.high
    assert covered >= 34


def test_wrong_input():
    features, owner = people(0)
    with pytest.raises(ValueError, match='needs 100000 pairs of different people, there are'):
        verify(features, owner, 1e-5)
    with pytest.raises(ValueError, match='no two of the 40 images show one person'):
        verify(features, np.arange(40))
    with pytest.raises(ValueError, match='got 0'):
        verify(features, owner, 0)
    features[3], features[9] = np.nan, 0
    with pytest.raises(ValueError, match='2 features are not finite or zero, the first in row 3'):
        verify(features, owner)


def test_a_calibrated_model_answers(fine_tuned, tmp_path):
    drawn = SyntheticPeople(6, 3, seed=3, size=(64, 32))
    for index in range(len(drawn)):
        path = tmp_path / 'people' / str(drawn[index].identity) / f'{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), drawn[index].image[..., ::-1])
    model = reid.load(*fine_tuned)
    paths = sorted((tmp_path / 'people').rglob('*.png'))
    with pytest.raises(ValueError, match='calibrate'):
        clasp_mm.match(paths[0], paths[1], model)
    out = tmp_path / 'calibrated.pth'
    found = calibrate(*fine_tuned, tmp_path / 'people', out, false_match_rate=.1)
    assert set(torch.load(out, weights_only=True)) == {'state_dict', 'meta'}
    model = reid.load(fine_tuned[0], out)
    same = clasp_mm.match(paths[0], cv2.imread(str(paths[0])), model)
    assert same.answer == 'same' and same.similarity == pytest.approx(1)
    features = np.stack([one['feature'] for one in reid.predict(
        model, [cv2.imread(str(path)) for path in paths])])
    ranked = np.argsort((features @ features.T)[np.triu_indices(len(paths), 1)])
    seen = set()
    for place in (ranked[0], ranked[1], ranked[-2], ranked[-1]):
        a, b = (int(rows[place]) for rows in np.triu_indices(len(paths), 1))
        answer, similarity, low, high = clasp_mm.match(paths[a], paths[b], model)
        assert similarity == pytest.approx(float(features[a] @ features[b]), abs=1e-5)
        assert (low, high) == (found.low, found.high)
        assert answer == ('same' if similarity >= high else
                          'different' if similarity < low else 'unsure')
        seen.add(answer)
    assert seen >= {'same', 'different'}
    assert draw_verification(found.to_dict()).std() > 10

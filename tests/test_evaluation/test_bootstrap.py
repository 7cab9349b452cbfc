import numpy as np
import pytest

from clasp_mm.evaluation.functional.bootstrap import (
    Tally,
    accuracy_sums,
    average_precision,
    mean_accuracy,
    mean_iou,
    rank_scores,
)
from tests.oracles import bootstrap as oracle


def ratio(sums):
    with np.errstate(invalid='ignore'):
        return sums[..., 0] / sums[..., 1]


def mean_of_known(values):
    """Of (value, known) pairs; None if none is known."""
    known = [value for value, seen in values if seen]
    return sum(known) / len(known) if known else None


@pytest.fixture
def units():
    """Four candidates on 6 people of whom some are not known; the second is the best."""
    rng = np.random.default_rng(3)
    known = np.array([1, 1, 0, 1, 0, 0.])
    values = rng.normal(size=(4, 6)) + np.array([[0.], [2.], [1.9], [-3]])
    return [np.stack([row * known, known], 1) for row in values]


def test_ranking_equals_the_oracle(units):
    ranked = rank_scores([Tally(own, ratio) for own in units], 200, seed=5)
    samples = oracle.bootstrap(units, mean_of_known, 200, seed=5)
    assert len(samples[0]) < 200  # some resamples hold nobody who is known
    full = [mean_of_known(own) for own in units]
    assert [row.index for row in ranked] == sorted(range(4), key=lambda i: -full[i])
    best = ranked[0].index
    for row in ranked:
        own = samples[row.index]
        behind = [a - b for a, b in zip(samples[best], own, strict=True)]
        assert row.score == pytest.approx(full[row.index])
        assert row.behind == pytest.approx(full[best] - full[row.index])
        for found, values in ((row.interval, own), (row.behind_interval, behind)):
            assert found == pytest.approx([oracle.percentile(values, q) for q in (2.5, 97.5)])
        assert row.tied == (oracle.percentile(behind, 2.5) <= 0)
        firsts = [max(column) == column[row.index] for column in zip(*samples, strict=True)]
        assert row.first == pytest.approx(np.mean(firsts))
    assert ranked[0].tied and not ranked[-1].tied


def test_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(50, 10, 400)
    row, = rank_scores([Tally(np.stack([values, np.ones(400)], 1), ratio)], 4000)
    half = 1.96 * values.std() / 20
    assert row.interval == pytest.approx([values.mean() - half, values.mean() + half], abs=.1)


def test_pairs_tell_apart_what_single_intervals_do_not():
    """Hard and easy people spread both scores widely; one is better on nearly all of them."""
    rng = np.random.default_rng(0)
    easy = rng.normal(50, 20, 100)
    better, worse = easy + rng.normal(2, 1, 100), easy
    first, second = rank_scores([Tally(np.stack([own, np.ones(100)], 1), ratio)
                                 for own in (worse, better)])
    assert first.index == 1 and second.interval[1] > first.interval[0]
    assert not second.tied and second.behind == pytest.approx(2, abs=.3)


def test_equal_candidates_are_tied_and_share_the_first_place(units):
    first, second = rank_scores([Tally(units[0], ratio)] * 2)
    assert second.tied and second.behind == 0 and first.first == second.first == .5


def test_what_cannot_be_scored_is_refused(units):
    with pytest.raises(ValueError, match='same units'):
        rank_scores([Tally(units[0], ratio), Tally(units[1][:-1], ratio)])
    with pytest.raises(ValueError, match='tally 1 is not defined'):
        rank_scores([Tally(units[0], ratio), Tally(units[1] * 0, ratio)])


@pytest.mark.parametrize('score, sums', [
    (mean_accuracy, [0, 0, 5, 5]), (mean_iou, [0, 0, 0]), (average_precision, [3, 0, 0])])
def test_sums_of_nothing_have_no_score(score, sums):
    both = score(np.array([sums, np.ones(len(sums))]))
    assert np.isnan(score(np.array(sums))) and np.isnan(both[0]) and both[1] == 100


def test_resamples_without_an_attribute_tie_nobody():
    """3 of 40 people have it: 4 % of the resamples hold none of them."""
    has = np.arange(40)[:, None] < 3
    right, wrong = (Tally(accuracy_sums(found, has, ~has, np.arange(40)), mean_accuracy)
                    for found in (has, ~has))
    first, second = rank_scores([right, wrong])
    assert (first.index, first.interval) == (0, (100, 100)) and not second.tied

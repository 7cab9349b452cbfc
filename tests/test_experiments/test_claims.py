"""Verdicts on the paper's claims, by hand."""

import numpy as np
import pytest

from clasp_mm.evaluation.frozen.tasks import METRICS
from clasp_mm.experiments.ablation.claims import (
    CLAIMS,
    SYSTEMS,
    figures,
    interval,
    judge_claims,
    resample,
)
from clasp_mm.models.layers import TASKS

RANDOM, DINO, SOLIDER, LABELS, CLASP = SYSTEMS


def seeds(*values, **others):
    """Results whose metrics are all alike in a seed, but for ``others``."""
    return [dict(scores={key: value for key in (*METRICS.values(), 'HM')} | {
        key: own[at] for key, own in others.items() if key not in ('gcr', 'ead')},
                 gcr=others.get('gcr', values)[at], ead=others.get('ead', values)[at],
                 under_prompt={}) for at, value in enumerate(values)]


def prompted(results, own, other):
    """Every task scores ``own`` under its prompt and ``other`` under the others."""
    for at, result in enumerate(results):
        result['scores'] |= dict.fromkeys(METRICS.values(), own[at])
        result['under_prompt'] = {task: dict.fromkeys(METRICS.values(), other[at])
                                  for task in TASKS}
    return results


def alike(rows, people=8):
    """Sums in which every one of ``people`` has the score of all, under every prompt."""
    def of(scores):
        return {metric: SUMS[metric](scores[metric], people) for metric in METRICS.values()}

    return {title: [of(result['scores']) | {
        f'{prompt}/{key}': value for prompt, scores in result['under_prompt'].items()
        for key, value in of(scores).items()} for result in results]
        for title, results in rows.items()}


def pairs(score, people):
    return np.tile([float(score), 1.], (people, 1))


def rates(score, people):  # of one attribute: hits, positive, rejected, negative
    return np.tile([score / 50, 1., 0., 1.], (people, 1))


def areas(score, people):  # of one class: labelled, predicted, right
    return np.tile([1., 1., 2 * score / (100 + score)], (people, 1))


def boxes(score, people):  # two bins: found, right; truths
    return np.tile([1., 0., 1., 0., 100 / score if score else 1e9], (people, 1))


SUMS = {'mAP': pairs, 'mA': rates, 'mIoU': areas, 'PCK': pairs, 'det AP': boxes,
        'search mAP': pairs}


def verdicts(rows):
    return {claim['text'].split(' (')[0]: claim for claim in judge_claims(rows, alike(rows))}


def test_sums_of_people_who_are_alike_have_the_score_of_all():
    scores = {metric: 10. + at for at, metric in enumerate(METRICS.values())}
    rows = {CLASP: [dict(scores=scores, under_prompt={'part': scores}, gcr=.5, ead=None)]}
    result = resample(rows[CLASP][0], alike(rows)[CLASP][0])
    both = scores['mAP'], scores['mIoU']
    assert result['scores']['HM'] == pytest.approx(2 * both[0] * both[1] / sum(both))
    for found in (result['scores'], result['under_prompt']['part']):
        for metric, score in scores.items():
            assert found[metric].shape == (1000,)
            np.testing.assert_allclose(found[metric], score)
    assert result['gcr'] == .5


def test_a_claim_stands_where_every_interval_lies_on_its_side():
    # differences of 10, 10, 11: mean 31/3, deviation of the mean 1/3, times t = 4.30
    rows = {RANDOM: seeds(1, 2, 3), DINO: seeds(11, 12, 14), SOLIDER: seeds(11, 12, 14),
            LABELS: seeds(21, 22, 25, mA=(10, 13, 15), gcr=(.3, .3, .3)),
            CLASP: prompted(seeds(0, 0, 0, gcr=(.2, .2, .4), HM=(99, 99, 98), ead=(.2, .21, .22)),
                            own=(31, 32, 36), other=(31.5, 32.5, 36.4))}
    found = verdicts(rows)
    assert {text: claim['verdict'] for text, claim in found.items()} == {
        'DINO is above random weights': 'confirmed',
        "CLIP's labels help parsing and attributes": 'not decided',  # mA by -1, 1, 1
        'but cost re-identification': 'refuted',                     # they help it
        'PC-MoE lifts all tasks above that': 'confirmed',
        'CLASP is above DINO and SOLIDER in all tasks': 'confirmed',
        'the right prompt beats a wrong one': 'refuted',
        'CLASP has the lowest GCR': 'not decided',                   # by -.1, -.1, .1 of labels'
        'its experts differ by task: EAD above 0': 'confirmed',
        'CLASP has the highest HM': 'confirmed'}
    parsing, attributes = found["CLIP's labels help parsing and attributes"]['differences']
    assert (parsing['mean'], attributes['mean']) == pytest.approx((31 / 3, 1 / 3))
    assert parsing['over'] == DINO and parsing['interval'][0] > 0 > attributes['interval'][0]


def test_one_seed_decides_nothing():
    rows = {title: prompted(seeds(at), (at,), (at - 1,)) for at, title in enumerate(SYSTEMS)}
    found = judge_claims(rows, alike(rows))
    assert {claim['verdict'] for claim in found} == {'not decided'}
    assert all(one['interval'] is None for claim in found
               for one in claim['differences'])


def test_the_interval_is_students():
    values = np.array([1., 2., 6., 3.])  # mean 3, squares 4 + 1 + 9 + 0; t of 3 degrees is 3.182
    half = 3.182 * (14 / 3 / 4) ** .5
    assert interval(values) == pytest.approx((3 - half, 3 + half), abs=1e-3)
    assert interval(values[:1]) is None
    assert interval(np.full(3, 2.)) == (2, 2)


def test_the_variance_over_people_widens_it():
    # 14 / 3 / 4 = 7 / 6 of seeds and as much of people: twice the variance, 4 times 3 degrees of
    # freedom, whose t is 2.179
    half = 2.179 * (7 / 3) ** .5
    assert interval(np.array([1., 2., 6., 3.]), 7 / 6) == pytest.approx((3 - half, 3 + half),
                                                                        abs=1e-3)
    # seeds agree: people alone, normal
    assert interval(np.full(3, 2.), 1.) == pytest.approx((2 - 1.96, 2 + 1.96), abs=1e-3)


def test_what_few_people_decide_is_not_decided():
    """Every seed has the same lead of 1 in re-identification, from one person of ten."""
    rows = {title: prompted(seeds(0, 0, 0), (0,) * 3, (0,) * 3) for title in SYSTEMS}
    for result in rows[LABELS]:
        result['scores'] = dict(result['scores'], mAP=1.)
    sums = alike(rows, people=10)
    for seed in sums[LABELS]:
        seed['mAP'] = np.array([[10., 1.]] + 9 * [[0., 1.]])
    claim = judge_claims(rows, sums)[2]
    low, high = claim['differences'][0]['interval']
    # ten draws of one in ten, each worth 10: the mean's variance is 10 ** 2 * .1 * .9 / 10
    half = 1.96 * 10 * (.1 * .9 / 10) ** .5
    assert (low, high) == pytest.approx((1 - half, 1 + half), rel=.1)
    assert claim['verdict'] == 'not decided'


def test_the_own_prompt_is_compared_with_the_mean_of_the_others():
    result, = prompted(seeds(0), (7.,), (0.,))
    result['under_prompt'] = {'appearance': {'mIoU': 4., 'mA': 1., 'mAP': 7., 'PCK': 0.,
                                             'det AP': 0.},
                              'part': {'mIoU': 7., 'mA': 2., 'mAP': 5., 'PCK': 7., 'det AP': 7.},
                              'attribute': {'mIoU': 5., 'mA': 7., 'mAP': 6., 'PCK': 0.,
                                            'det AP': 0.}}
    found = figures(result)
    assert [found[f'own prompt over others: {metric}'] for metric in ('mIoU', 'mA', 'mAP')] == [
        2.5, 5.5, 1.5]
    assert {metric for claim in CLAIMS for metric in claim.metrics} <= set(found)

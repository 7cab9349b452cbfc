"""Both sides compute the same, and the rows are made."""

from copy import deepcopy

import pytest
import torch

pytest.importorskip('mmdet', reason='needs mmdet: bash tools/setup.sh')

from benchmarks.contest import Options
from benchmarks.downstream import Task, shipped_config
from benchmarks.person_search import _QUICK, host_seqnet, person_sample, saved_features
from benchmarks.run import run_benchmarks
from clasp_mm.evaluation.functional import evaluate_person_search

from .test_metric import by_oracle

QUICK = Options(quick=True, repeats=1)


def test_both_sides_have_one_loss_and_one_gradient():
    cfg = shipped_config(_QUICK, QUICK)
    ours, theirs = (Task(cfg, swap, (96, 64), person_sample, 1, QUICK, host_seqnet)
                    for swap in (False, True))
    assert type(theirs.model.backbone).__mro__[1].__module__.startswith('mmdet')
    ours.take_weights(theirs)
    found = []
    for side in (ours, theirs):
        torch.manual_seed(0)  # of the sampled regions
        # In training the gates draw noise, and other regions would follow.
        losses = side.model.eval()(ours.images, deepcopy(ours.samples), mode='loss')
        loss = side.model.parse_losses(losses)[0]
        loss.backward()
        found.append((loss.detach(), side.model.backbone.patch_embed.projection.weight.grad,
                      side.model.roi_head.stages[-1].downsample.reduction.weight.grad))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-6)
    assert all(gradient.abs().max() > 0 for gradient in found[0][1:])


def test_drawn_features_are_searched_as_the_oracle_does():
    arrays = saved_features(30, 60)
    assert max(map(len, arrays['galleries'])) <= 100
    expected, found = by_oracle(arrays, arrays['galleries']), evaluate_person_search(**arrays)
    assert found['mAP'] == pytest.approx(expected['mAP'], abs=1e-9)
    assert 20 < found['mAP'] < 99.9 and found['num_valid'] == 30


@pytest.mark.slow
def test_rows():
    rows = list(run_benchmarks(['person_search'], QUICK))
    assert [row.name for row in rows] == [
        *(f'SeqNet 96x64, {what}' for what in ('inference', 'step', 'memory of a step')),
        'evaluate_person_search', 'evaluate_person_search, CBGM']
    assert [row.goal.reach for row in rows] == [.80, .95, 1.05, 1., 1.]
    assert all(row.ours > 0 for row in rows)

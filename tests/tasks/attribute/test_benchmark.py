"""Both sides compute the same, and the rows are made."""

import pytest
import torch

from benchmarks.contest import Options
from benchmarks.downstream import Task, _attribute_sample, shipped_config
from benchmarks.run import run_benchmarks

QUICK = Options(quick=True, repeats=1)


def test_both_sides_have_one_loss_and_one_gradient():
    cfg = shipped_config('attribute/rethinkpar_pcmoe-swin-tiny_1xb64-30e_pa100k-256x128.py', QUICK)
    cfg.model.backbone.drop_path_rate = 0.
    ours, theirs = (Task(cfg, swap, (96, 64), _attribute_sample, 3, QUICK)
                    for swap in (False, True))
    assert type(theirs.model.backbone).__module__.startswith('mmpretrain')
    ours.take_weights(theirs)
    stems = []
    for side in (ours, theirs):
        loss = side.model.train()(ours.images, ours.samples, mode='loss')['loss']
        loss.backward()
        stems.append((loss.detach(), side.model.backbone.patch_embed.projection.weight.grad))
    torch.testing.assert_close(*stems, rtol=1e-3, atol=1e-6)
    assert stems[0][1].abs().max() > 0


@pytest.mark.slow
def test_rows():
    rows = list(run_benchmarks(['attribute'], QUICK))
    assert [row.name for row in rows] == [
        f'Attributes 96x64, {what}' for what in ('inference', 'step', 'memory of a step')]
    assert [row.goal.reach for row in rows[:2]] == [.80, .95]
    for row in rows:
        assert row.ours > 0 and row.ratio == pytest.approx(row.ours / row.theirs)

"""The rows of pose, parsing and detection: both sides compute the same, and the tool runs them."""

from copy import deepcopy

import pytest
import torch

from benchmarks.contest import Options
from benchmarks.downstream import (
    Task,
    _parsing_sample,
    _pose_sample,
    detection_sample,
    host_faster_rcnn,
    host_upernet,
    shipped_config,
)
from benchmarks.run import benchmark_names, run_benchmarks

pytest.importorskip('mmpose', reason='needs mmpose: bash tools/setup.sh')

QUICK = Options(quick=True, repeats=1)


def test_groups():
    assert benchmark_names(['downstream']) == ['pose', 'parsing', 'detection']
    assert 'pose' not in benchmark_names(['all'])
    assert benchmark_names(['all', 'pose'])[-1] == 'pose'


def test_both_sides_predict_the_same_and_learn_alike():
    """Equal weights and a PC-MoE that is the identity yet: the race is over one computation."""
    cfg = shipped_config('pose/td-hm_pcmoe-swin-tiny_8xb32-210e_coco-256x192.py', QUICK)
    cfg.model.backbone.drop_path_rate = 0.
    ours, theirs = (Task(cfg, swap, (96, 64), _pose_sample, 2, QUICK) for swap in (False, True))
    assert type(theirs.model.backbone).__module__.startswith('mmpose')
    theirs.images = ours.images
    theirs.samples = ours.samples
    ours.take_weights(theirs)
    found, expected = (side.model.eval()(ours.images, None) for side in (ours, theirs))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    stems = [side.model.backbone.patch_embed.projection.weight for side in (ours, theirs)]
    for side in (ours, theirs):
        losses = side.model.train()(side.images, deepcopy(side.samples), mode='loss')
        losses['loss_kpt'].backward()
    torch.testing.assert_close(stems[0].grad, stems[1].grad, rtol=1e-3, atol=1e-7)
    before = stems[0].detach().clone()
    ours.step()
    assert ours.optimizer.optimizer.state[stems[0]]['exp_avg'].abs().max() > 0
    assert torch.equal(stems[0], before)  # the learning rate is 0


@pytest.mark.parametrize(('config', 'sample', 'peer', 'size'), [
    ('parsing/upernet_pcmoe-swin-tiny_8xb2-160k_lip-572x384.py', _parsing_sample, host_upernet,
     (96, 64)),
    ('detection/faster-rcnn_pcmoe-swin-tiny_fpn_8xb2-1x_coco-person.py', detection_sample,
     host_faster_rcnn, (128, 128))])
def test_the_hosts_own_model_predicts_what_ours_does(config, sample, peer, size):
    """Where our config has a faster head or RoIAlign than the host's."""
    cfg = shipped_config(config, QUICK)
    ours, theirs = (Task(cfg, swap, size, sample, 1, QUICK, peer) for swap in (False, True))
    assert 'clasp_mm' not in repr([type(part) for part in theirs.model.modules()])
    assert not any(getattr(part, 'use_torchvision', False) for part in theirs.model.modules())
    theirs.images, theirs.samples = ours.images, ours.samples
    ours.take_weights(theirs)
    found, expected = (side.infer()[0] for side in (ours, theirs))
    if peer is host_upernet:
        found, expected = ([one.seg_logits.data] for one in (found, expected))
    else:
        found, expected = ((one.pred_instances.bboxes, one.pred_instances.scores)
                           for one in (found, expected))
        assert len(found[0])
    for own, host in zip(found, expected, strict=True):
        torch.testing.assert_close(own, host, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'heads'), [
    ('pose', ['pose 96x64'] * 2), ('parsing', ['CE2P 96x64', 'UPerNet 96x64']),
    ('detection', ['Faster R-CNN 96x64', 'CSP 96x64'])])
def test_quick_rows(name, heads):
    rows = list(run_benchmarks([name], QUICK))
    assert [row.name for row in rows] == [
        f'{head}, {what}' for head in heads for what in ('inference', 'step', 'memory of a step')]
    for row in rows:
        assert row.unit == ('MiB' if 'memory' in row.name else 's')
        assert .2 < row.ratio < 5
        own_head = row.unit == 's' and row.name.startswith(('UPerNet', 'Faster R-CNN'))
        assert ('same_head_ratio' in row.details) == own_head

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip('mmdet', reason='needs mmdet: bash tools/setup.sh')
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torchvision.ops import MultiScaleRoIAlign

from clasp_mm.datasets.search_annotations import UNLABELLED
from clasp_mm.models.layers.tasks import task_weights

CONFIG = next((Path(__file__).parents[3] / 'configs/quickstart').glob('person_search_*.py'))
HEIGHT, WIDTH = 64, 96


def build(checkpoint=None, **roi_head):
    cfg = Config.fromfile(CONFIG)
    cfg.model.backbone.init_cfg = None if checkpoint is None else dict(
        type='clasp_mm.Pretrained', checkpoint=str(checkpoint))
    cfg.model.roi_head.update(roi_head)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
        model.init_weights()
    return model, cfg


def whole_backbone(cfg):
    return MODELS.build({**cfg.model.backbone, 'out_indices': (2, 3), 'init_cfg': None})


def batch(queries=()):
    torch.manual_seed(0)
    samples = []
    for boxes, pids in (([[8., 4., 28., 60.], [50., 10., 70., 58.]], [3, UNLABELLED]),
                        ([[30., 6., 52., 62.]], [3])):
        sample = DetDataSample(
            metainfo=dict(img_shape=(HEIGHT, WIDTH), ori_shape=(HEIGHT // 2, WIDTH // 2),
                          scale_factor=(2., 2.), img_path='a.jpg', queries=queries,
                          pad_shape=(HEIGHT, WIDTH)),
            gt_instances=InstanceData(bboxes=torch.tensor(boxes), labels=torch.tensor(pids)))
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4),
                                                labels=torch.zeros(0, dtype=torch.long))
        samples.append(sample)
    return torch.randn(2, 3, HEIGHT, WIDTH), samples


@pytest.mark.parametrize('share_stage', [False, True])
def test_shared_stages_and_both_heads_start_from_the_file_s_weights(tmp_path, share_stage):
    _, cfg = build()
    whole = whole_backbone(cfg).eval()
    for parameter in whole.parameters():  # a new PC-MoE does nothing
        torch.nn.init.normal_(parameter, std=.05)
    torch.save(dict(state_dict={f'backbone.{name}': value for name, value
                                in whole.state_dict().items()}), tmp_path / 'backbone.pth')
    model, _ = build(tmp_path / 'backbone.pth', share_stage=share_stage)
    model.eval()
    assert len(model.roi_head.stages) == 2 - share_stage
    images = torch.randn(2, 3, HEIGHT, WIDTH)
    (features, ) = model.extract_feat(images)
    torch.testing.assert_close(features, whole(images)[0])
    regions, outs, heads = torch.randn(5, 128, 8, 4), [], model.roi_head
    for stage, task in enumerate(('part', 'appearance')):
        heads.bbox_roi_extractor[stage].forward = lambda x, rois: regions
        heads.bbox_head[stage].register_forward_pre_hook(lambda _, args: outs.append(args[-1]))
        heads._bbox_forward(stage, (features, ), torch.zeros(5, 5))
        x, hw = whole.stages[2].downsample(regions.flatten(2).transpose(1, 2), (8, 4))
        for block in whole.stages[3].blocks:
            x = block(x, hw)
        x, _ = whole.stages[3].moe(x, task_weights(task, 3))
        torch.testing.assert_close(outs[-1], whole.norm3(x).transpose(1, 2).reshape(5, 256, 4, 2))
    assert (outs[0] - outs[1]).abs().mean() > 1e-3  # each its own prompt


@pytest.mark.parametrize('share_stage', [False, True])
def test_every_parameter_that_trains_gets_a_gradient_and_oim_takes_in_who_was_there(share_stage):
    torch.manual_seed(1)
    model, _ = build(share_stage=share_stage)
    model.train()
    losses = model.loss(*batch())
    assert {'loss_rpn_cls', 'loss_rpn_bbox', 's0.loss_cls', 's0.loss_bbox', 's1.loss_cls',
            's1.loss_bbox', 's1.loss_oim'} <= set(losses)
    sum(torch.as_tensor(one).sum() if not isinstance(one, list) else sum(one)
        for name, one in losses.items() if 'loss' in name).backward()
    missing = [name for name, one in model.named_parameters()
               if one.requires_grad and one.grad is None]
    assert not missing
    oim = model.roi_head.loss_oim
    assert oim.table.norm(dim=1).nonzero().flatten().tolist() == [3] and oim.head > 0
    torch.testing.assert_close(oim.table[3].norm(), torch.tensor(1.))
    assert 'roi_head.loss_oim.table' in model.state_dict()


def test_true_boxes_and_what_the_first_head_makes_of_them_reach_the_second(monkeypatch):
    """Without proposals all regions come from the true boxes, as SeqNet's code lets them pass."""
    model, _ = build()
    with torch.no_grad():  # moves each region by 0.1 x 5 of its sides
        model.roi_head.bbox_head[0].fc_reg.bias.copy_(torch.tensor([5., 0., 0., 0.]))
        model.roi_head.bbox_head[0].fc_reg.weight.zero_()
    regions, forward = [], model.roi_head._bbox_forward
    monkeypatch.setattr(model.roi_head, '_bbox_forward', lambda stage, x, rois: regions.append(
        rois) or forward(stage, x, rois))
    images, samples = batch()
    model.train()
    model.roi_head.loss(model.extract_feat(images), [
        InstanceData(bboxes=torch.zeros(0, 4)) for _ in samples], samples)
    true = torch.tensor([[0, 8., 4., 28., 60.], [0, 50., 10., 70., 58.], [1, 30., 6., 52., 62.]])
    # Half of 20, 20 and 22 to the right; the second head has both, the true boxes first.
    moved = true + torch.tensor([[0., 10., 0., 10., 0.]] * 2 + [[0., 11., 0., 11., 0.]])
    torch.testing.assert_close(regions[0], true)
    by_image = torch.cat([torch.cat([one[one[:, 0] == image] for one in (true, moved)])
                          for image in (0, 1)])
    assert len(regions[1]) == 6
    torch.testing.assert_close(*(one[torch.argsort(one[:, 1] + 1000 * one[:, 0])]
                                 for one in (regions[1], by_image)))


@torch.no_grad()
def test_regions_are_pooled_as_torchvision_does_it_for_seqnet():
    """Two samples a cell and side, not shifted by half a cell, by hand on a map of its columns."""
    extract = Config.fromfile(CONFIG).model.roi_head.bbox_roi_extractor
    with DefaultScope.overwrite_default_scope('mmdet'):
        pool = MODELS.build(extract)
    columns = torch.arange(12.).expand(1, 128, 8, 12).contiguous()
    pooled = pool((columns, ), torch.tensor([[0., 16., 16., 80., 80.]]))
    # Pixels 16 to 80 are cells 1 to 5 of 16 pixels: four regions of one cell each; their samples at
    # 1.25 and 1.75, 2.25 and 2.75 ... have the mean columns 1.5, 2.5, 3.5 and 4.5.
    torch.testing.assert_close(pooled[0, 0], torch.tensor([[1.5, 2.5, 3.5, 4.5]] * 8))
    features = torch.randn(2, 128, 8, 12)
    rois = torch.tensor([[0., 3., 5., 60., 90.], [1., 40., 2., 150., 120.], [1., 9., 9., 12., 30.]])
    theirs = MultiScaleRoIAlign(['0'], (8, 4), sampling_ratio=2)
    boxes = [rois[rois[:, 0] == image, 1:] for image in (0, 1)]
    torch.testing.assert_close(
        pool((features, ), rois), theirs({'0': features}, boxes, [(128, 192)] * 2))


@torch.no_grad()
def test_boxes_without_area_are_not_put_out():
    model, _ = build()
    model.eval()
    model.roi_head.test_cfg.first.score_thr = model.roi_head.test_cfg.score_thr = 0.
    assert all(len(one.pred_instances) for one in model.predict(*batch()))
    model.roi_head.bbox_head[1].fc_reg[1].bias.copy_(torch.tensor([1e4, 0., 0., 0.]))  # outside
    assert not any(len(one.pred_instances) for one in model.predict(*batch()))


def test_both_parts_of_the_second_head_s_boxes_start_as_published():
    torch.manual_seed(0)
    linear, norm = build()[0].roi_head.bbox_head[1].fc_reg
    assert linear.weight.std().item() == pytest.approx(.01, rel=.1)
    assert linear.bias.abs().max() == norm.bias.abs().max() == 0
    assert 0 < norm.weight.abs().max() < .05  # normal(0, 0.01)


def test_bfloat16_trains_and_finds_what_float32_does():
    torch.manual_seed(1)
    model, _ = build()
    model.roi_head.test_cfg.first.score_thr = model.roi_head.test_cfg.score_thr = 0.
    with torch.autocast('cpu', torch.bfloat16):
        losses = model.train().loss(*batch())
        assert all(torch.as_tensor(one).isfinite().all() and one.dtype == torch.float32
                   for name, one in losses.items() if name.startswith('s') and 'loss' in name)
    with torch.no_grad():
        exact = model.eval().predict(*batch([dict(bbox=[4., 2., 14., 30.])]))
        with torch.autocast('cpu', torch.bfloat16):
            found = model.predict(*batch([dict(bbox=[4., 2., 14., 30.])]))
    for one, other in zip(exact, found, strict=True):
        assert len(other.pred_instances) > 1
        assert (one.query_features * other.query_features).sum(1).min() > .98


def test_identity_loss_is_of_the_second_head_s_people():
    torch.manual_seed(1)
    model, _ = build()
    seen = []
    model.roi_head.loss_oim.register_forward_pre_hook(lambda _, args: seen.append(args))
    model.train().loss(*batch())
    ((features, pids), ) = seen
    assert len(features) == len(pids) and set(pids.tolist()) == {3, UNLABELLED}
    torch.testing.assert_close(features.norm(dim=1), torch.ones(len(pids)))


@torch.no_grad()
def test_detections_carry_weighted_vectors_and_queries_plain_ones():
    query = dict(bbox=[4., 2., 14., 30.], query=0, pid=3, gallery=None)
    results = {}
    for cws in (True, False):
        torch.manual_seed(2)
        model, _ = build(cws=cws)
        model.eval()
        model.roi_head.test_cfg.first.score_thr = model.roi_head.test_cfg.score_thr = 0.
        results[cws] = model.predict(*batch([query]))
        x = model.extract_feat(batch()[0])
        (expected, _) = model.roi_head.embed(
            x, [torch.tensor([[8., 4., 28., 60.]]), torch.zeros(0, 4)])
        torch.testing.assert_close(results[cws][0].query_features, expected)
    for weighted, plain in zip(results[True], results[False], strict=True):
        found, same = weighted.pred_instances, plain.pred_instances
        assert len(found) > 1
        torch.testing.assert_close(found.bboxes, same.bboxes)
        torch.testing.assert_close(found.features, same.features * found.scores[:, None])
        torch.testing.assert_close(same.features.norm(dim=1), torch.ones(len(same)))
        assert (found.bboxes <= torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT]) / 2).all()
        assert (np.diff(found.scores.numpy()) <= 0).all()


@torch.no_grad()
def test_nobody_found_and_nobody_searched():
    model, _ = build()
    model.eval()
    model.roi_head.test_cfg.first.score_thr = 1.1
    for sample in model.predict(*batch()):
        assert sample.pred_instances.bboxes.shape == (0, 4)
        assert sample.pred_instances.features.shape == sample.query_features.shape == (0, 128)


@torch.no_grad()
def test_a_query_outside_the_frame_is_named():
    model, _ = build()
    with pytest.raises(ValueError, match=r'a\.jpg: the box \[60\.0.* outside the image of 48 x 32'):
        model.eval().predict(*batch([dict(bbox=[60., 2., 80., 30.])]))


@pytest.mark.parametrize(('name', 'value'), [('out_indices', (3, )), ('channels_last', True)])
def test_a_backbone_that_says_what_it_puts_out_is_refused(name, value):
    cfg = Config.fromfile(CONFIG)
    cfg.model.backbone[name] = value
    with pytest.raises(ValueError, match='leave it out'), \
            DefaultScope.overwrite_default_scope('mmdet'):
        MODELS.build(cfg.model)

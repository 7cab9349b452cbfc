import pytest
import torch

pytest.importorskip('mmdet', reason='needs mmdet: bash tools/setup.sh')
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from clasp_mm.models.detection import CSPHead, CSPNeck, csp_targets
from tests.oracles import csp as oracle

MAP, STRIDE, RADIUS, MIN_WIDTH = (12, 15), 4, 2, 5
LOSSES = dict(
    loss_center=dict(type='mmdet.GaussianFocalLoss', alpha=2.0, gamma=4.0),
    loss_scale=dict(type='mmdet.SmoothL1Loss'),
    loss_offset=dict(type='mmdet.SmoothL1Loss'))


def random_boxes(count: int) -> torch.Tensor:
    """Boxes of all sizes, many overlapping, some beyond the border or too narrow."""
    center = torch.rand(count, 2) * torch.tensor([80., 68.]) - 10
    size = torch.rand(count, 2) * torch.tensor([24., 44.]) + 2
    return torch.cat([center - size / 2, center + size / 2], 1)


def head(**changes) -> CSPHead:
    built = CSPHead(**{**dict(
        in_channels=8, feat_channels=32, stride=STRIDE, **LOSSES,
        train_cfg=ConfigDict(radius=RADIUS, min_width=MIN_WIDTH),
        test_cfg=ConfigDict(score_thr=0.01, nms_pre=1000, max_per_img=100,
                            nms=dict(type='nms', iou_threshold=0.5))), **changes})
    built.init_weights()
    return built


def instances(boxes) -> list[InstanceData]:
    return [InstanceData(bboxes=one) for one in boxes]


CASES = {
    'random': ([random_boxes, 7], [random_boxes, 3]),
    'crowd': ([random_boxes, 60], [random_boxes, 20]),
    'no one': ([random_boxes, 0], [random_boxes, 0]),
    'only ignored': ([random_boxes, 0], [random_boxes, 5]),
    'whole cells': ([torch.tensor, [[8., 8., 20., 36.], [8., 8., 20., 36.], [0., 0., 60., 48.]]],
                    [torch.tensor, [[16., 20., 24., 28.], [30., 30., 30., 40.]]]),
}


@pytest.mark.parametrize('case', CASES)
def test_targets_equal_the_oracle(case):
    (make, people), (make_ignored, regions) = CASES[case]
    boxes = [make(people), random_boxes(4), torch.zeros(0, 4)]
    ignored = [make_ignored(regions), torch.zeros(0, 4), random_boxes(2)]
    found = csp_targets(boxes, ignored, MAP, STRIDE, RADIUS, MIN_WIDTH)
    for b in range(3):
        gauss, weight, size, offset = oracle.targets(
            boxes[b].tolist(), ignored[b].tolist(), MAP, STRIDE, RADIUS, MIN_WIDTH)
        torch.testing.assert_close(found.centers[b, 0], torch.tensor(gauss))
        torch.testing.assert_close(found.center_weight[b, 0], torch.tensor(weight))
        for values, weights, expected in ((found.scales, found.scale_weight, size),
                                          (found.offsets, found.offset_weight, offset)):
            there = torch.tensor([[float(cell is not None) for cell in row] for row in expected])
            torch.testing.assert_close(weights[b, 0], there)
            filled = torch.tensor([[cell or (0., 0.) for cell in row] for row in expected])
            torch.testing.assert_close(values[b], filled.permute(2, 0, 1), atol=1e-5, rtol=1e-5)
        assert ((found.centers[b] == 1) == (found.offset_weight[b] == 1)).all()


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('predict_width', [True, False])
def test_losses_and_their_gradients_equal_the_oracle(case, predict_width):
    (make, people), (make_ignored, regions) = CASES[case]
    boxes, ignored = [make(people), random_boxes(3)], [make_ignored(regions), random_boxes(1)]
    built = head(predict_width=predict_width)
    maps = [torch.randn(2, channels, *MAP, requires_grad=True)
            for channels in (1, 1 + predict_width, 2)]
    found = built.loss_by_feat(*maps, instances(boxes), [{}, {}], instances(ignored))
    gradients = torch.autograd.grad(sum(found.values()), maps)

    exact = [one.detach().double().requires_grad_() for one in maps]
    expected = oracle.losses(*exact, [
        oracle.targets(b.tolist(), i.tolist(), MAP, STRIDE, RADIUS, MIN_WIDTH)
        for b, i in zip(boxes, ignored, strict=True)])
    for value, name in zip(expected, ('loss_center', 'loss_scale', 'loss_offset'), strict=True):
        torch.testing.assert_close(
            found[name], torch.as_tensor(value).float(), rtol=1e-4, atol=1e-6)
    expected_gradients = torch.autograd.grad(sum(expected), exact, allow_unused=True)
    for gradient, right in zip(gradients, expected_gradients, strict=True):
        right = torch.zeros_like(gradient) if right is None else right.float()
        torch.testing.assert_close(gradient, right, atol=1e-6, rtol=1e-4)


def test_losses_of_two_pedestrians_by_hand():
    """Cells of 4 pixels; both centres lie 0.25 above and 0.5 left of the middle of their cells.

    A: 8 x 16 pixels, 2 x 4 cells, centre (40, 25) = cell (10, 6), offset y 0.25 - 0.5 = -0.25,
    x 0 - 0.5 = -0.5. B: as high and wide, 24 pixels to the left, cell (4, 6), the same offset.
    """
    boxes = torch.tensor([[36., 17., 44., 33.], [12., 17., 20., 33.]])
    center = torch.full((1, 1, *MAP), -20.)  # certain that nobody is there
    scale, offset = torch.zeros(1, 2, *MAP), torch.zeros(1, 2, *MAP)
    found = head(loss_offset=dict(type='mmdet.SmoothL1Loss', loss_weight=0.1)).loss_by_feat(
        center, scale, offset, instances([boxes]), [{}], instances([torch.zeros(0, 4)]))
    # Each centre: 0.5 * 0.25^2 + 0.5 * 0.5^2 = 0.15625. Both, over N = 2 centres, times 0.1.
    assert found['loss_offset'].item() == pytest.approx(0.1 * 2 * 0.15625 / 2)
    # Every height and width is off by the whole of itself: 0.5 * 1^2, the mean over both.
    assert found['loss_scale'].item() == pytest.approx(0.5)
    # Each centre: -(1 - 0)^2 log(e^-20) = 20; elsewhere nothing; over N = 2.
    assert found['loss_center'].item() == pytest.approx(2 * 20 / 2, rel=1e-3)


def test_perfect_maps_decode_to_the_boxes_they_were_made_from():
    boxes = torch.tensor([[4., 2., 17., 30.], [30., 10., 42., 44.], [31., 1., 40., 22.]])
    target = csp_targets([boxes], [torch.zeros(0, 4)], MAP, STRIDE, RADIUS, MIN_WIDTH)
    center = torch.where(target.centers == 1, 5., -9.)
    (found, ) = head().predict_by_feat(
        center, target.scales, target.offsets, [dict(img_shape=(48, 60), scale_factor=(0.5, 2.))],
        rescale=True)
    order = found.bboxes[:, 0].argsort()
    expected = boxes[boxes[:, 0].argsort()] / torch.tensor([0.5, 2., 0.5, 2.])
    torch.testing.assert_close(found.bboxes[order], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('predict_width', [True, False])
def test_decoding_and_nms_equal_the_oracle(predict_width):
    built = head(predict_width=predict_width)
    built.test_cfg.score_thr = 0.4
    center, offset = torch.randn(2, 1, *MAP), 0.3 * torch.randn(2, 2, *MAP)
    scale = 1 + 0.5 * torch.randn(2, 1 + predict_width, *MAP)
    metas = [dict(img_shape=(48, 60)), dict(img_shape=(40, 50))]
    for b, found in enumerate(built.predict_by_feat(center, scale, offset, metas)):
        raw = oracle.decode(center[b], scale[b], offset[b], STRIDE, metas[b]['img_shape'], 0.41,
                            0.4)
        expected = torch.tensor(oracle.nms(raw, 0.5))[:100]
        assert len(raw) > len(expected) > 5
        torch.testing.assert_close(found.scores, expected[:, 0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.bboxes, expected[:, 1:], atol=1e-3, rtol=1e-4)


def test_top_k_and_the_limit_an_image_hold():
    built = head()
    built.test_cfg.update(nms_pre=6, max_per_img=4, nms=dict(type='nms', iou_threshold=1.0))
    center = torch.randn(1, 1, *MAP)
    (found, ) = built.predict_by_feat(center, torch.ones(1, 2, *MAP), torch.zeros(1, 2, *MAP),
                                      [dict(img_shape=(48, 60))])
    best = center.flatten().sigmoid().sort(descending=True)[0]
    torch.testing.assert_close(found.scores, best[:4])
    built.test_cfg.score_thr = 0.999999
    assert len(built.predict_by_feat(center, torch.ones(1, 2, *MAP), torch.zeros(1, 2, *MAP),
                                     [dict(img_shape=(48, 60))])[0].bboxes) == 0


def test_first_predictions_are_rare_and_an_empty_batch_trains_only_the_centres():
    built = head()
    outputs = built((torch.randn(1, 8, *MAP), ))
    assert outputs[0].sigmoid().mean().item() == pytest.approx(0.01, rel=0.5)
    losses = built.loss_by_feat(*outputs, instances([torch.zeros(0, 4)]), [{}],
                                instances([torch.zeros(0, 4)]))
    assert losses['loss_scale'] == losses['loss_offset'] == 0 < losses['loss_center']
    sum(losses.values()).backward()
    for name, parameter in built.named_parameters():  # a gradient everywhere, as DDP demands
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        if name.startswith(('scale', 'offset')):
            assert not parameter.grad.any()


def test_neck_is_deconvolution_unit_vectors_and_their_scales():
    neck = CSPNeck(in_channels=(6, 8, 8), in_strides=(8, 16, 16), out_channels=4)
    maps = [torch.randn(2, 6, 8, 6), torch.randn(2, 8, 4, 3), torch.randn(2, 8, 4, 3)]
    (out, ) = neck(maps)
    assert out.shape == (2, 12, 16, 12)
    lengths = out.unflatten(1, (3, 4)).norm(dim=2)
    torch.testing.assert_close(lengths, torch.full((2, 3, 16, 12), 10.))
    with torch.no_grad():
        neck.scales[1, 2] *= 3
    ratio = neck(maps)[0] / out
    expected = torch.ones(12)
    expected[6] = 3
    torch.testing.assert_close(ratio.mean((0, 2, 3)), expected)
    zero, _, _ = torch.autograd.grad(neck([m * 0 for m in maps])[0].sum(),
                                     [d.weight for d in neck.deconvs])
    assert torch.isfinite(zero).all()


def test_wrong_settings_name_the_way_out():
    with pytest.raises(ValueError, match='2 or 4 times'):
        CSPNeck(in_channels=(6, 8), in_strides=(4, 8))
    with pytest.raises(ValueError, match='differ in length'):
        CSPNeck(in_channels=(6, 8), in_strides=(8, 16, 16))
    with pytest.raises(ValueError, match='pad_size_divisor'):
        CSPNeck(in_channels=(6, 8), in_strides=(8, 16))(
            [torch.randn(1, 6, 5, 5), torch.randn(1, 8, 3, 3)])
    with pytest.raises(ValueError, match='above the stride'):
        head(train_cfg=dict(radius=2, min_width=4))

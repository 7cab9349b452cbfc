"""Small forms of the hosts' stock models: compiled mmcv's operators against ours."""

import importlib
from pathlib import Path

import pytest
import torch

pytest.importorskip('mmdet.models')  # here, so that no test is charged with the seconds it takes

WIDTHS = [16, 32, 64, 128]  # of the stages of a ResNet-50 that starts with 4 channels
NARROW = {256: 32, 1024: 64, 512: 32}
KEYS = ('in_channels', 'feat_channels', 'out_channels', 'conv_out_channels', 'fc_out_channels',
        'point_feat_channels')
MODELS = dict(
    faster_rcnn='faster_rcnn/faster-rcnn_r50_fpn_1x_coco',
    mask_rcnn='mask_rcnn/mask-rcnn_r50_fpn_1x_coco',
    soft_nms='faster_rcnn/faster-rcnn_r50_fpn_soft-nms_1x_coco',
    retinanet='retinanet/retinanet_r50_fpn_1x_coco',
    fcos='fcos/fcos_r50-caffe_fpn_gn-head_1x_coco',
    dcn='dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco',
    dcnv2='dcnv2/faster-rcnn_r50-mdconv-group4-c3-c5_fpn_1x_coco',
    reppoints='reppoints/reppoints-moment_r50_fpn_1x_coco',
    dyhead='dyhead/atss_r50_fpn_dyhead_1x_coco',
    pisa='pisa/faster-rcnn_r50_fpn_pisa_1x_coco',
)
SLOW = {'soft_nms', 'dcnv2', 'pisa'}


def narrowed(node, key=None):
    """The config with few channels, and every detection kept."""
    if isinstance(node, dict):
        return {name: narrowed(value, name) for name, value in node.items()
                if name not in ('init_cfg', 'pretrained')}
    if key == 'in_channels' and node == [256, 512, 1024, 2048]:
        return WIDTHS
    if isinstance(node, (list, tuple)):
        return type(node)(narrowed(value) for value in node)
    if key == 'score_thr':
        return 0.0
    return NARROW.get(node, node) if key in KEYS and isinstance(node, int) else node


@pytest.fixture(autouse=True)
def no_scope_left():
    """The scopes that these tests choose are not those of the tests after them."""
    yield
    importlib.import_module('mmengine.registry').DefaultScope._instance_dict.clear()


def built(config):
    from mmengine.config import Config, ConfigDict
    from mmengine.registry import init_default_scope
    mmdet = pytest.importorskip('mmdet')
    init_default_scope('mmdet')
    cfg = ConfigDict(narrowed(Config.fromfile(
        Path(mmdet.__file__).parent / '.mim' / 'configs' / f'{config}.py').model.to_dict()))
    cfg['backbone'].update(base_channels=4, frozen_stages=-1)
    model = importlib.import_module('mmdet.registry').MODELS.build(cfg)
    model.init_weights()
    for name, parameter in model.named_parameters():
        if 'offset' in name and parameter.requires_grad:  # the hosts start them at 0
            torch.nn.init.normal_(parameter, std=0.05)
    return model


def tensors(node, out):
    if isinstance(node, torch.Tensor):
        out.append(node.detach().clone())
    elif isinstance(node, dict):
        for value in node.values():
            tensors(value, out)
    elif isinstance(node, (list, tuple)):
        for value in node:
            tensors(value, out)
    return out


def one_step(config):
    """Losses and gradients of a step, then what the stepped model detects."""
    from mmdet.testing import demo_mm_inputs
    model = built(config)
    batch = model.data_preprocessor(
        demo_mm_inputs(2, [[3, 96, 128], [3, 128, 64]], num_classes=80, with_mask=True), True)
    optimizer = torch.optim.SGD(model.parameters(), 0.001)
    losses = model.loss(batch['inputs'], batch['data_samples'])
    model.parse_losses(losses)[0].backward()
    gradients = [one.grad for one in model.parameters() if one.grad is not None]
    optimizer.step()
    model.eval()
    with torch.no_grad():
        found = [one.pred_instances for one in model.predict(
            batch['inputs'], batch['data_samples'])]
    assert len(gradients) > 50 and all(len(one) > 5 for one in found)
    return tensors([losses, gradients, [dict(one.items()) for one in found]], [])


def same(theirs, ours):
    assert len(theirs) == len(ours)
    for one, other in zip(theirs, ours, strict=True):
        scale = max(1.0, one.abs().max().item()) if one.is_floating_point() and one.numel() else 1.0
        torch.testing.assert_close(other, one, rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in MODELS])
def test_stock_models_learn_and_detect_the_same(by_both, name):
    same(*by_both(lambda: one_step(MODELS[name])))


def test_psanet_learns_and_segments_the_same(by_both):
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmengine.structures import PixelData
    mmseg = pytest.importorskip('mmseg')
    importlib.import_module('mmseg.models')
    structures = importlib.import_module('mmseg.structures')
    cfg = Config.fromfile(Path(mmseg.__file__).parent / '.mim' / 'configs' / '_base_' / 'models'
                          / 'psanet_r50-d8.py').model
    cfg.pretrained = None
    cfg.backbone.update(base_channels=4, stem_channels=4, norm_cfg=dict(type='BN'))
    for head, channels in ((cfg.decode_head, 128), (cfg.auxiliary_head, 64)):
        head.update(in_channels=channels, channels=16, norm_cfg=dict(type='BN'))
    cfg.decode_head.mask_size = (7, 9)

    def one_step():
        init_default_scope('mmseg')
        model = importlib.import_module('mmseg.registry').MODELS.build(cfg)
        images = torch.randn(2, 3, 64, 72)
        samples = [structures.SegDataSample(
            gt_sem_seg=PixelData(data=torch.randint(19, (1, 64, 72))),
            metainfo=dict(ori_shape=(64, 72), img_shape=(64, 72))) for _ in images]
        losses = model.loss(images, samples)
        model.parse_losses(losses)[0].backward()
        model.eval()
        with torch.no_grad():
            found = model(images)
        return tensors([losses, [one.grad for one in model.parameters()], found], [])

    same(*by_both(one_step))


@pytest.mark.parametrize('config, part', [
    ('carafe/faster-rcnn_r50_fpn-carafe_1x_coco', 'neck.upsample_modules.0.content_encoder.weight'),
    ('guided_anchoring/ga-retinanet_r50-caffe_fpn_1x_coco', 'bbox_head.feature_adaption_cls.'
     'conv_offset.weight')])
def test_models_without_a_compiled_form_on_the_cpu_learn(ours, config, part):
    from mmdet.testing import demo_mm_inputs
    model = built(config)
    batch = model.data_preprocessor(
        demo_mm_inputs(1, [[3, 96, 128]], num_classes=80), True)

    def loss():
        torch.manual_seed(0)  # of the samplers
        return model.parse_losses(model.loss(batch['inputs'], batch['data_samples']))[0]

    before = loss()
    before.backward()
    weight = model.get_parameter(part)
    assert weight.grad.abs().max() > 0
    with torch.no_grad():
        for one in model.parameters():
            if one.grad is not None:
                one -= 1e-4 * one.grad / one.grad.norm().clamp(min=1e-6)
    assert loss() < before
    model.eval()
    with torch.no_grad():
        found, = model.predict(batch['inputs'], batch['data_samples'])
    assert found.pred_instances.bboxes.isfinite().all()

import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS, TRANSFORMS
from PIL import Image
from torchvision.transforms import InterpolationMode, Resize

from clasp_mm.engine.config_check import check_config
from clasp_mm.registry import PARAM_SCHEDULERS
from clasp_mm.utils.resources import shipped_file

CONFIGS = sorted(shipped_file('configs/reid').glob('*.py'))
QUICKSTART = next(shipped_file('configs/quickstart').glob('reid_*.py'))
RATES = {'tiny': 8e-4, 'small': 2e-4, 'base': 2e-4}
IDENTITIES = {'market1501': 751, 'msmt17': 1041}


@pytest.fixture(autouse=True)
def scope():
    """Of the configs, whatever an earlier test left."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.mark.parametrize('path', [*CONFIGS, QUICKSTART], ids=lambda path: path.stem)
def test_full_size_model_gives_a_feature_of_unit_length(path):
    cfg = Config.fromfile(path)
    check_config(cfg)
    cfg.model.backbone.init_cfg = None
    with torch.device('meta'):
        model = MODELS.build(cfg.model).eval()
        feature = model(torch.empty(2, 3, *cfg.size), mode='tensor')
    assert feature.shape == (2, model.backbone.num_features[-1])
    assert model.head.classifier.weight.shape == (cfg.model.head.num_classes, feature.shape[1])
    assert model.backbone.task == 'appearance' and model.backbone.has_moe
    assert path.stem.endswith('x'.join(map(str, cfg.size)))


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_recipe_is_soliders(path):
    cfg = Config.fromfile(path)
    arch, batch, epochs, data = re.search(
        r'swin-(\w+?)_1xb(\d+)-(\d+)e_(\w+?)-384x128', path.stem).groups()
    assert cfg.model.backbone.arch == arch and f'-{arch}_' in cfg.model.backbone.init_cfg.checkpoint
    assert cfg.model.head.num_classes == IDENTITIES[data]
    sampler = cfg.train_dataloader.sampler
    assert cfg.train_dataloader.batch_size == int(batch) == (
        sampler.num_identities * sampler.num_instances) == cfg.auto_scale_lr.base_batch_size
    assert cfg.param_scheduler == [dict(
        type='clasp_mm.WarmupCosineLR', warmup=20, total=int(epochs), start_ratio=.01,
        end_ratio=.002)]
    assert cfg.train_cfg.max_epochs == int(epochs)
    assert cfg.optim_wrapper.optimizer == dict(
        type='SGD', lr=RATES[arch], momentum=.9, weight_decay=1e-4)
    kinds = {cfg[f'{part}_dataloader'].dataset.type for part in ('train', 'val', 'test')}
    assert len(kinds) == 1 and data in kinds.pop().lower()
    assert [cfg[f'{part}_dataloader'].dataset.split for part in ('train', 'val', 'test')] == [
        'train', 'test', 'test']


def build(cfg):
    """The optimizer's wrapper, and the names of its parameters by their id."""
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    return build_optim_wrapper(model, cfg.optim_wrapper), {
        id(value): name for name, value in model.named_parameters()}


def test_biases_learn_at_twice_the_rate():
    """SOLIDER's: whatever has 'bias' in its name; and the experts' biases, which it has not."""
    cfg = Config.fromfile(CONFIGS[0])
    cfg.model.backbone.arch = 'nano'
    cfg.model.head.in_channels = 256
    wrapper, names = build(cfg)
    rates = {names[id(value)]: (group['lr'] / cfg.optim_wrapper.optimizer.lr,
                                group['weight_decay'])
             for group in wrapper.optimizer.param_groups for value in group['params']}
    twice = {name for name in rates if 'bias' in name or name.endswith(('.moe.b1', '.moe.b2'))}
    assert {rates[name] for name in twice} == {(2., 1e-4)}
    assert {rates[name] for name in set(rates) - twice} == {(1., 1e-4), (1., 0.)}
    assert all(name.endswith('.moe.prompts') for name in rates if not rates[name][1])
    for name in ('norm3.bias', 'stages.0.blocks.0.norm1.bias', 'stages.0.moe.b1',
                 'stages.0.blocks.0.attn.w_msa.relative_position_bias_table'):
        assert rates[f'backbone.{name}'] == (2., 1e-4)


HAND = {  # epoch: of the rate r of all and 2 r of the biases, in units of r
    0: (.01, .01),
    10: (.01 + .99 * 10 / 20, .01 + 1.99 * 10 / 20),
    19: (.01 + .99 * 19 / 20, .01 + 1.99 * 19 / 20),
    20: (.002 + .998 * .933013, .002 + 1.998 * .933013),  # (1 + cos 30 degrees) / 2
    40: (.002 + .998 * .75, .002 + 1.998 * .75),  # cos 60
    60: (.002 + .998 * .5, .002 + 1.998 * .5),  # cos 90
    80: (.002 + .998 * .25, .002 + 1.998 * .25),  # cos 120
    100: (.002 + .998 * .066987, .002 + 1.998 * .066987),  # cos 150
    119: (.002 + .998 * .00017134, .002 + 1.998 * .00017134),  # cos 178.5
    120: (.002, .002)}


def test_the_learning_rate_of_each_epoch_by_hand():
    cfg = Config.fromfile(CONFIGS[0])
    cfg.model.backbone.arch = 'nano'
    cfg.model.head.in_channels = 256
    wrapper, names = build(cfg)
    scheduler, = (PARAM_SCHEDULERS.build({**one, 'optimizer': wrapper})
                  for one in cfg.param_scheduler)
    for epoch in range(121):
        if epoch in HAND:
            rates = {names[id(value)]: group['lr'] for group in wrapper.optimizer.param_groups
                     for value in group['params']}
            assert (rates['head.classifier.weight'], rates['backbone.norm3.bias']) == pytest.approx(
                [cfg.optim_wrapper.optimizer.lr * value for value in HAND[epoch]], rel=1e-5), epoch
        wrapper.step()
        scheduler.step()


@pytest.mark.parametrize('warmup', [-1, 120])
def test_a_warm_up_longer_than_the_run(warmup):
    cfg = Config.fromfile(QUICKSTART)
    with pytest.raises(ValueError, match=f'warmup={warmup} must be at least 0 and below total=120'):
        PARAM_SCHEDULERS.build(dict(
            type='clasp_mm.WarmupCosineLR', optimizer=build(cfg)[0], warmup=warmup, total=120,
            start_ratio=.01, end_ratio=.002))


@pytest.mark.parametrize('part, mode', [('train', 'BICUBIC'), ('test', 'BILINEAR')])
def test_images_are_resized_as_torchvision_does(part, mode):
    cfg = Config.fromfile(CONFIGS[0])
    image = np.random.default_rng(0).integers(0, 256, (160, 60, 3), np.uint8)
    resize = TRANSFORMS.build(cfg[f'{part}_pipeline'][1])
    expected = Resize(cfg.size, InterpolationMode[mode])(Image.fromarray(image))
    found = resize(dict(img=image, img_shape=image.shape[:2]))['img']
    assert (found == np.asarray(expected)).all()

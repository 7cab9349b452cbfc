import re

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

from clasp_mm.apis.config_check import check_config
from clasp_mm.apis.resources import resource

CONFIGS = sorted(resource('configs/reid').glob('*.py'))
QUICKSTART = next(resource('configs/quickstart').glob('reid_*.py'))
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
    warmup, cosine = cfg.param_scheduler
    assert (warmup.begin, warmup.end) == (0, cosine.begin) == (0, 20)
    assert cosine.begin + cosine.T_max == cosine.end == cfg.train_cfg.max_epochs == int(epochs)
    assert cfg.optim_wrapper.optimizer == dict(
        type='SGD', lr=RATES[arch], momentum=.9, weight_decay=1e-4)
    kinds = {cfg[f'{part}_dataloader'].dataset.type for part in ('train', 'val', 'test')}
    assert len(kinds) == 1 and data in kinds.pop().lower()
    assert [cfg[f'{part}_dataloader'].dataset.split for part in ('train', 'val', 'test')] == [
        'train', 'test', 'test']


def test_biases_learn_at_twice_the_rate():
    cfg = Config.fromfile(QUICKSTART)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    names = {id(value): name for name, value in model.named_parameters()}
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    rates = {names[id(value)]: group['lr'] for group in groups for value in group['params']}
    base = cfg.optim_wrapper.optimizer.lr
    assert rates['head.classifier.weight'] == base
    linear = {name: rate for name, rate in rates.items() if '.norm' not in name}
    assert {rate for name, rate in linear.items() if name.endswith('.bias')} == {2 * base}
    assert {rate for name, rate in linear.items() if not name.endswith('.bias')} == {base}

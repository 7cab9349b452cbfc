from pathlib import Path

import pytest
import torch
from mmengine.config import Config

pytest.importorskip('mmseg', reason='needs mmseg: bash tools/setup.sh')

from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from mmseg.registry import MODELS
from torch import nn

from clasp_mm.engine.config_check import check_config
from tests.oracles.parsing_losses import learning_rate

ROOT = Path(__file__).parents[3] / 'configs'
CONFIGS = sorted([*(ROOT / 'parsing').glob('*.py'), *(ROOT / 'quickstart').glob('parsing_*.py')])


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_parses_and_builds_at_full_size(path):
    cfg = Config.fromfile(path)
    check_config(cfg)
    size = tuple(cfg.model.data_preprocessor.size)
    assert f'{size[0]}x{size[1]}' in path.stem
    assert tuple(cfg.train_pipeline[3].size) == tuple(cfg.test_pipeline[1].size) == size
    assert cfg.train_dataloader.dataset.pipeline == cfg.train_pipeline
    assert cfg.test_dataloader.dataset.pipeline == cfg.test_pipeline
    init_default_scope('mmseg')
    cfg.model.backbone.init_cfg = None
    with torch.device('meta'):
        model = MODELS.build(cfg.model).eval()
        maps = model.extract_feat(torch.zeros(1, 3, *size))
    assert [x.shape[1] for x in maps] == list(cfg.model.decode_head.in_channels)
    if 'schp' in path.stem:
        assert maps[3].shape[2:] == maps[2].shape[2:]
        assert f'swin-{cfg.model.backbone.arch}' in path.stem
        hook = cfg.custom_hooks[-1]
        assert hook.type == 'clasp_mm.SelfCorrectionHook'
        cycles = cfg.param_scheduler[-1]
        assert (cycles.begin, cycles.end) == (hook.start, cfg.train_cfg.max_epochs)
        assert set(cycles.periods) == {hook.interval}
        assert sum(cycles.periods) == cycles.end - cycles.begin


@pytest.mark.parametrize(('name', 'schedule'), [
    ('tiny_8xb8-150e_lip-572x384', {}),
    ('tiny_8xb8-150e_lip-473x473', dict(warm_up=10, start=100, floor=100))],
    ids=['SOLIDER', 'SCHP'])
def test_learning_rates_are_the_published_ones(name, schedule):
    cfg = Config.fromfile(ROOT / f'parsing/schp_pcmoe-swin-{name}.py')
    model = nn.ModuleDict(dict(backbone=nn.ModuleDict(dict(patch_embed=nn.Linear(1, 1),
                                                           norm3=nn.Linear(1, 1)))))
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    schedulers = [PARAM_SCHEDULERS.build(step, default_args=dict(optimizer=wrapper))
                  for step in cfg.param_scheduler]
    for epoch in range(cfg.train_cfg.max_epochs):
        lrs = wrapper.get_lr()['lr']
        assert lrs[-1] == pytest.approx(learning_rate(epoch, **schedule)), epoch
        assert lrs[0] == 0  # the patch embedding
        for scheduler in schedulers:
            scheduler.step()


def test_the_warm_up_by_hand():
    """SOLIDER's begins at 7e-3 / 500 and rises by (7e-3 - 1.4e-5) / 30 an epoch."""
    assert learning_rate(0) == pytest.approx(1.4e-5)
    assert learning_rate(1) == pytest.approx(1.4e-5 + 2.32867e-4, rel=1e-5)
    assert learning_rate(30) == pytest.approx(7e-3)


@pytest.mark.parametrize(('arch', 'parameters'), [
    ('tiny', 15_192_216), ('small', 15_192_216), ('base', 17_054_904)])
def test_network_is_soliders(arch, parameters):
    """The head's parameters are counted in SOLIDER-HumanParsing's network."""
    cfg = Config.fromfile(ROOT / f'parsing/schp_pcmoe-swin-{arch}_8xb8-150e_lip-572x384.py')
    cfg.model.backbone.init_cfg = None
    init_default_scope('mmseg')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert sum(p.numel() for p in model.decode_head.parameters()) == parameters
    assert model.align_corners and model.decode_head.pooling.align_corners
    assert not [name for name, module in model.backbone.named_modules()
                if getattr(module, 'drop_prob', 0)]


def test_short_batches_are_left_out_and_scales_are_the_published_ones():
    for path in CONFIGS:
        cfg = Config.fromfile(path)
        assert cfg.train_dataloader.drop_last, path
        height, width = cfg.model.data_preprocessor.size
        sizes = [tuple(step['size']) for step in cfg.tta_pipeline[1].transforms[1]]
        assert sizes == [(int(height * scale), int(width * scale))
                         for scale in (1, .5, .75, 1.25, 1.5)]

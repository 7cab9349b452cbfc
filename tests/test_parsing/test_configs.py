from pathlib import Path

import pytest
import torch
from mmengine.config import Config

pytest.importorskip('mmcv._ext', reason='needs compiled mmcv: bash tools/setup.sh --with-ops')

from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from mmseg.registry import MODELS
from torch import nn

from clasp_mm.apis.config_check import check_config
from tests.oracles.parsing_losses import learning_rate

ROOT = Path(__file__).parents[2] / 'configs'
CONFIGS = sorted([*(ROOT / 'parsing').glob('*.py'), *(ROOT / 'quickstart').glob('parsing_*.py')])
SOLIDER = ROOT / 'parsing/schp_pcmoe-swin-tiny_8xb8-150e_lip-572x384.py'


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


def test_learning_rates_are_soliders():
    cfg = Config.fromfile(SOLIDER)
    model = nn.ModuleDict(dict(backbone=nn.ModuleDict(dict(patch_embed=nn.Linear(1, 1),
                                                           norm3=nn.Linear(1, 1)))))
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    schedulers = [PARAM_SCHEDULERS.build(step, default_args=dict(optimizer=wrapper))
                  for step in cfg.param_scheduler]
    for epoch in range(cfg.train_cfg.max_epochs):
        lrs = wrapper.get_lr()['lr']
        assert lrs[-1] == pytest.approx(learning_rate(epoch)), epoch
        assert lrs[0] == 0  # the patch embedding
        for scheduler in schedulers:
            scheduler.step()

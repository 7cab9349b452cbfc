import re

import pytest

pytest.importorskip('mmcv._ext', reason='needs compiled mmcv: bash tools/setup.sh --with-ops')

import torch
from mmengine.config import Config
from mmpose.registry import MODELS

from clasp_mm.apis.config_check import check_config
from clasp_mm.apis.resources import resource

from .conftest import QUICKSTART

CONFIGS = sorted(resource('configs/pose').glob('*.py'))
# Learning rate, weight decay and milestones of SOLIDER's pose estimators (their published configs).
SOLIDER = {'tiny': (7e-4, 0., [170, 200]), 'small': (1e-3, .01, [170, 200]),
           'base': (1e-3, .01, [120, 150])}


@pytest.mark.parametrize('path', [*CONFIGS, resource(QUICKSTART)], ids=lambda path: path.stem)
def test_full_size_model_maps_the_input_to_the_heatmaps_of_its_codec(path):
    cfg = Config.fromfile(path)
    check_config(cfg)
    width, height = cfg.codec.input_size
    cfg.model.backbone.init_cfg = None
    with torch.device('meta'):
        model = MODELS.build(cfg.model).eval()
        heatmaps = model(torch.empty(2, 3, height, width), None, mode='tensor')
    assert heatmaps.shape == (2, cfg.model.head.out_channels, *cfg.codec.heatmap_size[::-1])
    assert model.backbone.task == 'part' and model.backbone.has_moe
    assert path.stem.endswith(f'{height}x{width}')


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_name_says_size_batch_and_length(path):
    cfg = Config.fromfile(path)
    arch, gpus, batch, epochs = re.search(r'swin-(\w+?)_(\d+)xb(\d+)-(\d+)e_', path.stem).groups()
    backbone = cfg.model.backbone
    assert backbone.arch == arch and f'swin-{arch}_' in backbone.init_cfg.checkpoint
    assert cfg.train_dataloader.batch_size == int(batch)
    assert cfg.auto_scale_lr.base_batch_size == int(gpus) * int(batch)
    assert cfg.train_cfg.max_epochs == int(epochs) == cfg.param_scheduler[1].end
    evaluator = cfg.test_evaluator
    assert evaluator.type == 'CocoMetric' and cfg.model.test_cfg.flip_test
    assert evaluator.ann_file == cfg.data_root + cfg.test_dataloader.dataset.ann_file
    assert cfg.test_dataloader.dataset.bbox_file.startswith(cfg.data_root)


@pytest.mark.parametrize('arch', SOLIDER)
def test_recipe_is_soliders(arch):
    path, = (path for path in CONFIGS if f'{arch}_' in path.name and '384x288' in path.name)
    cfg = Config.fromfile(path)
    optimizer = cfg.optim_wrapper.optimizer
    warmup, steps = cfg.param_scheduler
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay, steps.milestones) == (
        'AdamW', *SOLIDER[arch])
    assert (warmup.end, warmup.by_epoch) == (11710, False)
    assert cfg.model.backbone.drop_path_rate == 0 and cfg.codec.sigma == 2


def test_no_weight_decay_on_relative_position_tables_and_prompts():
    from mmengine.optim import build_optim_wrapper
    cfg = Config.fromfile(resource(QUICKSTART))
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    spared = {id(value) for name, value in model.named_parameters()
              if name.endswith(('.relative_position_bias_table', '.prompts'))}
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    decays = {id(value): group['weight_decay'] for group in groups for value in group['params']}
    assert {decay for key, decay in decays.items() if key in spared} == {0.}
    assert {decay for key, decay in decays.items() if key not in spared} == {.01}
    assert spared <= set(decays)

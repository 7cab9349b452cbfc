from pathlib import Path

import pytest
import torch

pytest.importorskip('mmdet', reason='needs mmdet: bash tools/setup.sh')
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from clasp_mm.engine.config_check import check_config

ROOT = Path(__file__).parents[3] / 'configs'
CONFIGS = sorted([*(ROOT / 'detection').glob('*.py'),
                  *(ROOT / 'quickstart').glob('detection_*.py')])


def named(part: str) -> Config:
    return Config.fromfile(next(path for path in CONFIGS if part in path.name))


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_read_whole_and_builds_at_full_size(path):
    cfg = Config.fromfile(path)
    check_config(cfg)
    assert cfg.model.backbone.task == 'part'
    with DefaultScope.overwrite_default_scope('mmdet'), torch.device('meta'):
        model = MODELS.build(cfg.model)
        height, width = cfg.get('size', (1333, 800))[::-1]
        features = model.extract_feat(torch.zeros(1, 3, height // 32 * 32, width // 32 * 32))
        if 'csp' in path.name:
            channels = (1, 1 + cfg.model.bbox_head.predict_width, 2)
            assert [tuple(one.shape[1:]) for one in model.bbox_head(features)] == [
                (count, height // 4, width // 4) for count in channels]


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_names_say_what_the_config_does(path):
    cfg = Config.fromfile(path)
    name = path.stem
    assert f'pcmoe-swin-{cfg.model.backbone.arch}_' in name
    assert f'xb{cfg.train_dataloader.batch_size}-' in name or 'nano_1xb4_' in name
    if 'citypersons' in name:
        assert f'-{cfg.train_cfg.max_epochs}e_' in name


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_no_epoch_is_chosen_on_the_reported_split_without_saying_so(path):
    chosen = Config.fromfile(path).default_hooks.checkpoint.get('save_best')
    assert chosen is None or 'Selection:' in path.read_text()


def test_recipe():
    cfg = named('swin-tiny_8xb3-240e')
    head = cfg.model.bbox_head
    assert [head[f'loss_{name}'].loss_weight for name in ('center', 'scale', 'offset')] == [
        .01, 1., .1]
    assert head.loss_center.gamma == 4 and head.loss_center.alpha == 2
    assert (cfg.optim_wrapper.optimizer.type, cfg.optim_wrapper.optimizer.lr) == ('Adam', 1e-4)
    assert cfg.custom_hooks[0].momentum == pytest.approx(1 - 0.999)
    assert cfg.param_scheduler[1].milestones == [110, 160]
    assert cfg.model.backbone.strides == (4, 2, 2, 1)
    pipeline = {step['type']: step for step in cfg.train_dataloader.dataset.pipeline}
    assert pipeline['RandomCrop'].crop_size == pipeline['Pad'].size == (2048, 1024)

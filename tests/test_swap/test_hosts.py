"""Stock configs of the four hosts with one dict replaced: build, step, save, resume, infer."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from clasp_mm.compat import allow_mmengine_checkpoints, load_file
from clasp_mm.models import PCMoESwin
from tests.test_tools import shell

from .hosts import CASES, case_name, shrink, swapped, write_data
from .inferencers import SHAPES, infer

pytest.importorskip('mmpose', reason='needs mmpose: bash tools/setup.sh')


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Data for all hosts, and a training checkpoint whose teacher is to be found."""
    allow_mmengine_checkpoints()
    root = write_data(tmp_path_factory.mktemp('data'))
    torch.manual_seed(7)
    teacher = PCMoESwin('nano', 'part', window_size=4)
    for parameter in teacher.parameters():
        torch.nn.init.normal_(parameter, std=.05)
    state = {f'teacher.backbone.{name}': value for name, value in teacher.state_dict().items()}
    state |= {f'backbone.{name}': torch.zeros_like(value)
              for name, value in teacher.state_dict().items()}
    torch.save(dict(state_dict=state, meta={}), root / 'epoch_3.pth')
    yield root, teacher.state_dict()
    DefaultScope._instance_dict.clear()


class Start(Hook):
    """The backbone's weights before the first step of a start."""

    priority = 'VERY_LOW'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if not hasattr(self, 'state'):
            self.state = state_of(runner.model.backbone)


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def run(cfg):
    start = Start()
    runner = Runner.from_cfg(cfg)
    runner.register_hook(start)
    runner.train()
    return runner, start.state


# One case of each host; the others are slow.
FIRST = [CASES[0], CASES[3], CASES[7], CASES[10]]
REAL = [CASES[3], CASES[7]]


@pytest.mark.parametrize(
    ('case', 'real_size'),
    [pytest.param(case, False, id=case_name(case),
                  marks=() if case in FIRST else pytest.mark.slow) for case in CASES]
    + [pytest.param(case, True, id=f'{case_name(case)}-real-size', marks=pytest.mark.slow)
       for case in REAL])
def test_stock_config_with_one_dict_replaced(case, real_size, files, tmp_path):
    root, teacher = files
    cfg = swapped(case, tmp_path, root / 'epoch_3.pth')
    cfg = shrink(cfg, root, tmp_path / 'run', 1, real_size)
    runner, started = run(cfg)
    backbone = runner.model.backbone
    assert same(started, teacher)
    (report, ) = (tmp_path / 'run' / runner.timestamp / 'pretrained.jsonl').read_text().splitlines()
    report = json.loads(report)
    assert report['format'] == 'clasp' and set(report['matched']) == set(teacher)
    assert f'{len(teacher)} tensors matched' in Path(runner.logger.log_file).read_text()
    stepped = runner.optim_wrapper.optimizer.state
    idle = [name for name, parameter in backbone.named_parameters()
            if parameter.requires_grad and parameter not in stepped]
    assert not idle  # what DistributedDataParallel would stop at
    trained = state_of(backbone)
    assert not same(trained, teacher)

    cfg.train_cfg.max_iters = 2
    cfg.resume = True
    runner, resumed = run(cfg)
    assert runner.iter == 2 and same(resumed, trained)

    config, checkpoint = str(tmp_path / 'run' / 'swapped.py'), str(tmp_path / 'run' / 'iter_2.pth')
    image = str(next((root / 'coco' / 'val2017').iterdir()))
    model, result = infer(case.host, config, checkpoint, image)
    assert same(state_of(model.backbone), state_of(runner.model.backbone))
    assert np.isfinite(result).all()
    assert result.shape == SHAPES.get(case.host, result.shape)


@pytest.mark.slow
@pytest.mark.parametrize('case', [CASES[0], CASES[5], CASES[8]], ids=case_name)
def test_two_processes_find_no_parameter_unused(case, files, tmp_path):
    """DistributedDataParallel stops at the second step if a parameter had no gradient."""
    root, teacher = files
    hooks = [dict(type='clasp_mm.LoadBalanceHook', weight=.01)]
    cfg = shrink(swapped(case, tmp_path, root / 'epoch_3.pth'), root, tmp_path / 'run', 3)
    cfg.merge_from_dict(dict(
        find_unused_parameters=False, custom_hooks=hooks, env_cfg=dict(dist_cfg=dict(
            backend='gloo'))))
    cfg.train_dataloader.batch_size = 1
    cfg.dump(tmp_path / 'two.py')
    done = shell('dist_train.sh', tmp_path / 'two.py', 2, timeout=600, environment={
        'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    rows = [json.loads(row) for row in
            next((tmp_path / 'run').glob('*/vis_data/scalars.json')).read_text().splitlines()]
    assert [row['loss_balance'] > 0 for row in rows if 'loss' in row] == [True] * 3
    trained = load_file(tmp_path / 'run' / 'iter_3.pth')['state_dict']
    prompts = 'stages.3.moe.prompts'
    assert not torch.equal(trained[f'backbone.{prompts}'][1], teacher[prompts][1])

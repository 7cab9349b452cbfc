"""The hosts' own programs with a config of ours: where mmcv is compiled, and where it is not."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from clasp_mm.models import PCMoESwin
from tests.lite import environment
from tests.source_tree import ROOT

from .hosts import CASES, case_name, shrink, swapped, write_data
from .inferencers import SHAPES

pytestmark = pytest.mark.slow
HOSTS = [next(case for case in CASES if case_name(case) == name) for name in (
    'mmpose-td-hm', 'mmdet-mask-rcnn', 'mmseg-upernet', 'mmpretrain-resnet50')]
SCORES = dict(mmpose='coco/AP', mmdet='coco/segm_mAP', mmseg='mIoU', mmpretrain='accuracy/top1')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = write_data(tmp_path_factory.mktemp('data'))
    state = PCMoESwin('nano', 'part', window_size=4).state_dict()
    torch.save(dict(state_dict={f'backbone.{name}': value for name, value in state.items()},
                    meta={}), root / 'epoch_1.pth')
    return root


@pytest.fixture(scope='module', params=['installed', 'not compiled'])
def programs(request, tmp_path_factory):
    """Runs a program with the operators that are installed, or with ours."""
    lite = tmp_path_factory.mktemp('lite') if request.param == 'not compiled' else None
    variables = environment(lite)

    def run(*arguments):
        done = subprocess.run([sys.executable, '-W', 'ignore', *map(str, arguments)], cwd=ROOT,
                              env=variables, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout

    run.lite = lite
    return run


@pytest.mark.parametrize('case', HOSTS, ids=case_name)
def test_a_host_trains_tests_and_infers_by_itself(case, data, programs, tmp_path):
    tools = Path(find_spec(case.host).origin).parent / '.mim' / 'tools'
    cfg = shrink(swapped(case, tmp_path, data / 'epoch_1.pth'), data, tmp_path / 'run', 1)
    cfg.custom_imports = dict(imports=['clasp_mm'])
    if case.host == 'mmdet':
        cfg.model.test_cfg.rcnn.score_thr = 0.  # else a network of one step finds nothing
    config, checkpoint = tmp_path / 'config.py', tmp_path / 'run' / 'iter_1.pth'
    cfg.dump(config)
    programs(tools / 'train.py', config)
    programs(tools / 'test.py', config, checkpoint, '--work-dir', tmp_path / 'test')
    (scores,) = (tmp_path / 'test').glob('*/*.json')
    assert SCORES[case.host] in json.loads(scores.read_text())

    image = next((data / 'coco' / 'val2017').iterdir())
    said = programs('-m', 'tests.test_swap.inferencers', case.host, config, checkpoint, image)
    found = json.loads(said.splitlines()[-1])
    assert not found['asked_for_ours'] and found['backbone'] == 'PCMoESwin' and found['weights']
    assert np.isfinite(found['result']).all()
    assert np.shape(found['result']) == SHAPES.get(case.host, np.shape(found['result']))
    if programs.lite and case.host != 'mmpretrain':  # which asks for no operator
        assert found['operators'] == str(programs.lite / 'mmcv' / '_ext.py')

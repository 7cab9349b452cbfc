"""OpenMMLab's package manager finds configs, tools and index, and trains and tests by them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from clasp_mm.synthetic import (
    write_citypersons,
    write_coco_keypoints,
    write_market1501,
)
from tests.lite import environment

pytest.importorskip('mim', reason='openmim is not installed')
pytestmark = pytest.mark.filterwarnings('ignore:.*pkg_resources')

CONFIG = 'reid_transreid_pcmoe-swin-nano_1xb32_synthetic-64x32.py'
OPTIONS = ('model.backbone.init_cfg=None', 'model.head.num_classes=6',
           'train_dataloader.batch_size=8', 'train_dataloader.sampler.num_identities=4',
           'train_dataloader.sampler.num_instances=2', 'train_cfg.max_epochs=1',
           'train_cfg.val_interval=1', 'default_hooks.checkpoint.interval=1')


def mim(*args, cwd, variables=None):
    code = 'import sys; from mim.cli import cli; sys.exit(cli())'
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code, *map(str, args)], cwd=cwd, timeout=600,
        capture_output=True, text=True, env=variables or environment())
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_mim_finds_what_is_installed():
    from mim.commands.search import get_model_info
    from mim.utils import get_installed_path
    found = Path(get_installed_path('clasp_mm'), '.mim')
    assert (found / 'tools' / 'train.py').is_file() and (found / 'tools' / 'test.py').is_file(), (
        'run tools/setup.sh again')
    assert len(list(found.glob(f'configs/*/{CONFIG}'))) == 1
    info = get_model_info('clasp_mm', configs=[CONFIG.removesuffix('.py')], to_dict=True)
    (row,) = info.values()
    assert row['training_data'].startswith('synthetic people') and row['config'].endswith(CONFIG)


@pytest.mark.slow
def test_mim_trains_and_tests_a_config_by_its_name(tmp_path):
    market = tmp_path / 'market1501'
    for split, count in (('train', 48), ('val', 80)):
        write_market1501(market, split, count, size=(64, 32), workers=1, progress=False)
    data = [f'{name}_dataloader.dataset.data_root={market}/' for name in ('train', 'val', 'test')]
    assert 0 < train_and_test(CONFIG, (*OPTIONS, *data), tmp_path)['reid/mAP'] <= 100


@pytest.mark.slow
@pytest.mark.parametrize(('config', 'options', 'score'), [
    ('detection_csp_pcmoe-swin-nano_1xb4_synthetic-256x512.py',
     ('model.test_cfg.score_thr=0.',), 'miss_rate/Reasonable'),
    ('pose_pcmoe-swin-nano_1xb32_synthetic-64x48.py', (), 'coco/AP')])
def test_mim_trains_and_tests_with_a_host_where_nothing_is_compiled(
        tmp_path, config, options, score):
    data = tmp_path / 'work_dirs' / 'quickstart_downstream' / 'data'
    for split in ('train', 'val'):
        if config.startswith('pose'):
            write_coco_keypoints(data / 'pose', split, 4, workers=1, progress=False)
        else:
            write_citypersons(data / 'detection', split, 4, workers=1, progress=False)
    options = ('model.backbone.init_cfg=None', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1',
               *options)
    variables = environment(tmp_path / 'lite')
    assert score in train_and_test(config, options, tmp_path, variables)


def train_and_test(config, options, folder, variables=None):
    """What ``mim test`` writes of the epoch that ``mim train`` made."""
    options = ('--cfg-options', *options)
    mim('train', 'clasp_mm', config, '--work-dir', folder / 'run', *options, cwd=folder,
        variables=variables)
    (checkpoint,) = (folder / 'run').glob('epoch_1.pth')
    mim('test', 'clasp_mm', config, '--checkpoint', checkpoint, '--work-dir', folder / 'run',
        '--out', folder / 'scores', *options, cwd=folder, variables=variables)
    return json.loads((folder / 'scores' / 'metrics.json').read_text())

"""tools/train.py on each quickstart config finds what the quickstart and its comparison made.

All is made by their own code, smaller; only the trainings leave random weights.
"""

import os
import re
import runpy
import sys

import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from clasp_mm.evaluation.frozen.people import Scored
from clasp_mm.experiments.downstream import write_data
from clasp_mm.experiments.quickstart import Options, run
from clasp_mm.experiments.quickstart.layout import DOWNSTREAM_DIR, WORK_DIR, published, seed_dir
from clasp_mm.experiments.quickstart.run import Quickstart
from clasp_mm.mini_clip.architecture import build_mini_clip, save_mini_clip
from clasp_mm.registry import MODELS
from tests.source_tree import ROOT

CONFIGS = sorted((ROOT / 'configs/quickstart').glob('*.py'))
COUNTS = dict(pose=(4, 2), parsing=(8, 2), detection=(4, 2), attribute=(32, 4), reid=(64, 16),
              person_search=(4, 4))
OPTIONS = dict(parsing_schp=['custom_hooks.1.start=1'])
NEED_HOSTS = ('pose', 'parsing', 'detection', 'person_search')


def leave_random_weights(quickstart, trainings, jobs=()):
    if jobs:
        save_mini_clip(build_mini_clip(), quickstart.clip_dir)
    for training in trainings:
        training.job()  # leaves the config
        model = MODELS.build(dict(training.cfg.model, stage1=None, _scope_='mmpretrain'))
        torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=training.epochs, iter=9)),
                   training.result)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Where the quickstart was called."""
    folder, before = tmp_path_factory.mktemp('checkout'), os.getcwd()
    os.chdir(folder)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Quickstart, 'run_missing', leave_random_weights)
            patch.setattr(run, 'evaluate_backbone', lambda *_: Scored({}, {}))
            quickstart = Quickstart(Options(WORK_DIR, identities=4, held_out=2))
            quickstart.clip_dir.mkdir(parents=True)
            quickstart.make_data()
            quickstart.run_seed(0)
    finally:
        os.chdir(before)
    return folder


def named_paths(text):
    return {path.rstrip('/') for path in re.findall(r"['\":](work_dirs/[^'\"]*)", text)}


def test_the_configs_name_what_the_quickstart_made(made):
    assert len(CONFIGS) == 11
    for config in CONFIGS:
        names = named_paths(config.read_text())
        task = next((task for task in COUNTS if config.stem.startswith(f'{task}_')), None)
        data = {str(DOWNSTREAM_DIR / 'data' / task)} if task else set()
        assert data <= names and all((made / name).exists() for name in names - data), config.name


@pytest.mark.slow
@pytest.mark.parametrize('config', CONFIGS, ids=lambda path: path.stem)
def test_training_finds_what_the_quickstart_made(made, config, monkeypatch):
    task = next((task for task in COUNTS if config.stem.startswith(f'{task}_')), None)
    if task in NEED_HOSTS:
        pytest.importorskip('mmpose', reason='needs mmpose: bash tools/setup.sh')
    monkeypatch.chdir(made)
    if task:
        write_data(task, COUNTS[task], task)
    options = ['train_cfg.max_epochs=1', *OPTIONS.get(config.stem.split('_pcmoe')[0], [])]
    if 'live-labels' in config.stem:
        options.append(f'train_dataloader.dataset.data_root={WORK_DIR}/data/train/images')
    monkeypatch.setattr(sys, 'argv', ['train.py', str(config), '--cfg-options', *options])
    for kept in (DefaultScope, MMLogger, MessageHub, Visualizer):
        kept._instance_dict.clear()  # a new process would not know the last run
    runpy.run_path(str(ROOT / 'tools/train.py'), run_name='__main__')
    assert (made / 'work_dirs' / config.stem / 'epoch_1.pth').is_file()


def test_the_names_move_with_the_folder(made, tmp_path):
    (made / 'work_dirs').rename(tmp_path / 'work_dirs')
    try:
        assert published(seed_dir(tmp_path / WORK_DIR, 0)).is_file()
    finally:
        (tmp_path / 'work_dirs').rename(made / 'work_dirs')

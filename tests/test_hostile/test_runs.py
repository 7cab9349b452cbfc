"""Weights that strangers made, read by MMEngine's Runner in a training or a test."""

import runpy
import sys

import pytest
import torch

from clasp_mm.compat import load_file
from tests.source_tree import ROOT
from tests.test_hostile.test_files import Evil
from tests.test_tools import CONFIG


@pytest.fixture
def run(tmp_path, monkeypatch):
    """``run(tool, *arguments)`` with a tiny task, where torch runs pickles as before 2.6."""
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    config = tmp_path / 'tiny.py'
    config.write_text(CONFIG)

    def call(tool, *arguments):
        monkeypatch.setattr(sys, 'argv', [tool, *(str(one) for one in arguments), '--work-dir',
                                          str(tmp_path / 'run')])
        runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
    call('train.py', config)
    return call


def test_a_config_inside_a_checkpoint_to_resume_from_is_not_run(run, mark, tmp_path):
    """MMEngine runs the text that a checkpoint has as meta['config'], which none of its own has."""
    checkpoint = load_file(tmp_path / 'run' / 'epoch_1.pth')
    checkpoint['meta']['config'] = f'import os\nos.mkdir({str(mark)!r})\n'
    torch.save(checkpoint, tmp_path / 'evil.pth')
    (tmp_path / 'run' / 'epoch_2.pth').unlink()
    run('train.py', tmp_path / 'tiny.py', '--resume', tmp_path / 'evil.pth')
    assert load_file(tmp_path / 'run' / 'epoch_2.pth')['meta']['iter'] == 8


@pytest.mark.parametrize('name', ['evil.pth', '~/evil.pth'])
def test_weights_that_a_run_begins_with(name, run, mark, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    torch.save(dict(state_dict={}, meta=Evil(mark)), tmp_path / 'evil.pth')
    path = name if name[0] == '~' else tmp_path / name
    with pytest.raises(ValueError, match=r'evil\.pth holds more than weights'):
        run('train.py', tmp_path / 'tiny.py', '--cfg-options', f'load_from={path}')
    with pytest.raises((ValueError, SystemExit), match=r'evil\.pth holds more than weights'):
        run('test.py', tmp_path / 'tiny.py', tmp_path / 'evil.pth')

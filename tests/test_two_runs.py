"""Two runs and one folder: the second is told, children end with their parent, no run is lost."""

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time

import pytest
from mmengine.config import Config

from clasp_mm.engine.jobs import Job, run_jobs
from clasp_mm.engine.training import Training
from clasp_mm.synthetic import shards
from clasp_mm.utils.claims import CLAIM, HeldError, hold
from tests.source_tree import ROOT
from tests.test_kill import data, train, write_config  # noqa: F401
from tests.two_at_once import begin, die, gone, kill_me, left, state, together

linux = pytest.mark.skipif(sys.platform != 'linux', reason='only Linux ends children')


# Who has a folder


def hold_for(place, seconds):
    with hold(place):
        time.sleep(seconds)


def hold_and_die(place):
    with hold(place):
        kill_me()


def wait_for(path):
    for _ in range(6000):
        if path.exists() and path.read_bytes():
            return
        time.sleep(0.01)
    raise AssertionError(f'no {path}')


def test_the_second_is_told_who_has_the_folder(tmp_path):
    holder = begin(hold_for, tmp_path / 'run', 60)
    try:
        wait_for(tmp_path / 'run' / CLAIM)
        with pytest.raises(HeldError, match=rf'{tmp_path}/run is held by process {holder.pid} on '
                           rf'{socket.gethostname()} since 20\d\d-.* UTC.*name another folder$'), \
                hold(tmp_path / 'run'):
            pass
        assert left(tmp_path) == ['run', f'run/{CLAIM}']
    finally:
        holder.kill()
        holder.join()
    with hold(tmp_path / 'run'):  # its owner is dead
        assert json.loads((tmp_path / 'run' / CLAIM).read_text())['pid'] == os.getpid()
    assert left(tmp_path / 'run') == []


def test_one_of_many_gets_a_dead_ones_folder(tmp_path):
    die(hold_and_die, tmp_path / 'run')
    assert together(begin_run, tmp_path / 'run', count=6) == 5


def begin_run(number, place):
    hold_for(place, 3)


def test_a_claim_of_another_machine_is_void_after_a_silence(tmp_path):
    with hold(tmp_path):
        claim = json.loads((tmp_path / CLAIM).read_text())
    other = dict(claim, machine='0' * 8, host='elsewhere', pid=7)
    (tmp_path / CLAIM).write_text(json.dumps(other))
    with pytest.raises(HeldError, match=r'process 7 on elsewhere.*in 5 minutes, or delete .*'
                       + CLAIM), hold(tmp_path):
        pass
    os.utime(tmp_path / CLAIM, (time.time() - 301,) * 2)
    with hold(tmp_path):
        pass
    for nothing in ('', '{"pid": 1}', '[]'):  # of a full disk
        (tmp_path / CLAIM).write_text(nothing)
        with hold(tmp_path):
            pass


def test_a_living_claim_is_touched(tmp_path, monkeypatch):
    monkeypatch.setattr('clasp_mm.utils.claims._BEAT', 0.05)
    with hold(tmp_path):
        os.utime(tmp_path / CLAIM, (0, 0))
        for _ in range(200):
            if (tmp_path / CLAIM).stat().st_mtime:
                break
            time.sleep(0.02)
        assert (tmp_path / CLAIM).stat().st_mtime > time.time() - 60


def test_a_second_training_stops_before_it_writes(data, tmp_path, monkeypatch):  # noqa: F811
    config, out = write_config(data, tmp_path), tmp_path / 'run'
    out.mkdir()
    monkeypatch.setattr(sys, 'argv', ['train.py', str(config), '--work-dir', str(out)])
    with hold(out):
        before = state(out)
        with pytest.raises(SystemExit, match=f'^train.py: {out} is held by process {os.getpid()} '):
            runpy.run_path(str(ROOT / 'tools/train.py'), run_name='__main__')
        assert state(out) == before
    process = begin(train, config, out)
    process.join()
    assert process.exitcode == 0 and not (out / CLAIM).exists()
    rows = [json.loads(line)['step'] for line in (out / 'metrics.jsonl').read_text().splitlines()
            ] if (out / 'metrics.jsonl').exists() else []
    assert len(rows) == len(set(rows))


@pytest.mark.slow
def test_two_trainings_at_once_leave_one_run(data, tmp_path):  # noqa: F811
    config = write_config(data, tmp_path)
    assert together(train_number, config, tmp_path / 'run', count=3) == 2
    assert len(list((tmp_path / 'run').glob('*/vis_data'))) == 1


def train_number(number, config, out):
    train(config, out)


@pytest.mark.slow
def test_all_processes_of_a_launch_share_the_folder(data, tmp_path):  # noqa: F811
    config, out = write_config(data, tmp_path), tmp_path / 'run'
    out.mkdir()
    command = ['bash', ROOT / 'tools/dist_train.sh', config, '2', '--work-dir', out]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHON': sys.executable}
    with hold(out):
        before = state(out)
        second = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert second.returncode and 'is held by process' in second.stderr
        assert state(out) == before
    first = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert first.returncode == 0, first.stderr[-3000:]
    assert not (out / CLAIM).exists() and list(out.glob('iter_*.pth'))


def test_no_folder_of_a_living_run_is_cleared(tmp_path):
    training = Training(tmp_path / 'run', Config(dict(train_cfg=dict(max_epochs=2))))
    training.job()
    (tmp_path / 'run' / 'epoch_1.pth').write_text('weights')
    other = Training(tmp_path / 'run', Config(dict(train_cfg=dict(max_epochs=3))))
    with hold(tmp_path / 'run'), pytest.raises(HeldError):
        other.job()
    assert (tmp_path / 'run' / 'epoch_1.pth').exists()
    other.job()
    assert not (tmp_path / 'run' / 'epoch_1.pth').exists()


@pytest.mark.parametrize('tool, arguments', [
    ('quickstart.py', ['--out', '{}']),
    ('run_ablation.py', ['--table', 'I', '--out', '{}']),
    ('train_mini_clip.py', ['{}', '--people', '8', '--steps', '1', '--batch-size', '8'])])
def test_tools_say_who_has_their_folder(tmp_path, monkeypatch, tool, arguments):
    monkeypatch.setattr(sys, 'argv', [tool, *(one.format(tmp_path) for one in arguments)])
    with hold(tmp_path), pytest.raises(SystemExit, match=f'{tool}: {tmp_path} is held by process'):
        runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')


def test_a_downstream_task_has_its_folder_alone(tmp_path, monkeypatch):
    from clasp_mm.experiments import downstream
    monkeypatch.setattr(downstream, 'WORK_DIR', tmp_path)
    with hold(tmp_path / 'pose'), pytest.raises(HeldError):
        downstream.run_downstream('pose', {})
    assert not (tmp_path / 'data').exists()


# Children


SLEEPER = """import os, time
with open({!r}, 'w') as file:
    file.write(str(os.getpid()))
time.sleep(60)"""


def run_sleepers(place):
    run_jobs([Job(name, [sys.executable, '-c', SLEEPER.format(str(place / name))], place / 'log')
              for name in ('one', 'two')])


def ends_with_its_parent(job, place, how):
    parent, children = begin(job, place), []
    try:
        for name in ('one', 'two'):
            wait_for(place / name)
            children.append(int((place / name).read_text()))
            assert not gone(children[-1], 0)
        os.kill(parent.pid, how)
        parent.join()
        assert all(gone(child) for child in children)
    finally:
        parent.kill()
        for child in children:
            if not gone(child, 0):
                os.kill(child, signal.SIGKILL)


@linux
@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGTERM])
def test_jobs_end_with_who_started_them(tmp_path, how):
    ends_with_its_parent(run_sleepers, tmp_path, how)


def draw_slowly(place):
    with shards.mapper(2, 2) as run_all:  # exec needs no import of this module
        list(run_all(exec, [SLEEPER.format(str(place / name)) for name in ('one', 'two')]))


@linux
def test_workers_that_draw_end_with_who_started_them(tmp_path):
    ends_with_its_parent(draw_slowly, tmp_path, signal.SIGKILL)


# Checkpoints

CONFIGS = sorted(path for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_config_saves_whole_checkpoints_and_keeps_two(path):
    hook = Config.fromfile(path).default_hooks.checkpoint
    assert hook.type == 'clasp_mm.SafeCheckpointHook' and hook.get('max_keep_ckpts', -1) != 1

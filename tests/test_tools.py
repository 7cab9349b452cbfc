import json
import os
import re
import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from clasp_mm.cli import parser_of
from clasp_mm.compat import load_file
from tests.documentation import PAGES
from tests.source_tree import ROOT
from tests.test_cli.test_verbs import MODULES

TOOLS = ROOT / 'tools'
CONFIG = '''
custom_imports = dict(imports=['tests.tiny_task'])
default_scope = 'mmengine'
model = dict(type='TinyModel')
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'), dataset=dict(type='TinyData'))
test_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'), dataset=dict(type='TinyData'))
train_cfg = dict(by_epoch=True, max_epochs=2)
test_cfg = dict()
test_evaluator = dict(type='TinyError')
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9))
param_scheduler = dict(type='MultiStepLR', milestones=[1], gamma=0.1)
randomness = dict(seed=1)
'''


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / 'tiny.py'
    path.write_text(CONFIG)
    return path


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Run a Python tool in this process, which has imported the hosts already."""
    def run_tool(name: str, *arguments: object) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        for kept in (DefaultScope, MMLogger, MessageHub, Visualizer):
            kept._instance_dict.clear()  # a new process would not know the last run
        runpy.run_path(str(TOOLS / name), run_name='__main__')
    return run_tool


def shell(script: str, *arguments: object, environment: dict[str, str] | None = None,
          cwd: Path = ROOT, timeout: int = 120) -> subprocess.CompletedProcess:
    return subprocess.run(
        ['bash', str(TOOLS / script), *map(str, arguments)], capture_output=True, text=True,
        timeout=timeout, cwd=cwd, env={**os.environ, **(environment or {})})


def weights(path: Path) -> torch.Tensor:
    return load_file(path)['state_dict']['line.weight']


def test_training_resumed_equals_training_in_one_go(call, config, tmp_path):
    """Also proves that mmengine's own checkpoints load where torch's default is weights_only."""
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    more = ('--cfg-options', 'train_cfg.max_epochs=3')
    call('train.py', config, '--work-dir', whole, *more)
    call('train.py', config, '--work-dir', parts)
    (parts / 'last_checkpoint').write_text('/where/it/was/epoch_2.pth')
    call('train.py', config, '--work-dir', parts, *more, 'resume=True')  # the same as --resume
    assert weights(parts / 'epoch_3.pth') == weights(whole / 'epoch_3.pth')
    assert weights(parts / 'epoch_3.pth') != weights(parts / 'epoch_2.pth')

    again = tmp_path / 'again'
    call('train.py', config, '--work-dir', again, '--resume', whole / 'epoch_2.pth', *more)
    assert weights(again / 'epoch_3.pth') == weights(whole / 'epoch_3.pth')


def test_estimate_prints_and_writes_a_report_only(call, config, tmp_path, capsys):
    call('train.py', config, '--work-dir', tmp_path / 'w', '--estimate', '2')
    said = capsys.readouterr().out
    assert 'schedule  8 steps' in said and 'no advice on the CPU' in said
    assert [path.name for path in (tmp_path / 'w').iterdir()] == ['estimate.json']


def test_default_work_dir_and_tensorboard(call, config, tmp_path):
    call('train.py', config, '--tensorboard', '--cfg-options', 'train_cfg.max_epochs=1')
    assert (tmp_path / 'work_dirs' / 'tiny' / 'epoch_1.pth').is_file()
    assert list(tmp_path.glob('work_dirs/tiny/*/vis_data/events.out.tfevents.*'))


def test_testing_writes_the_metric_of_the_checkpoint(call, config, tmp_path):
    call('train.py', config, '--work-dir', tmp_path / 'w')
    call('test.py', config, tmp_path / 'w' / 'epoch_2.pth', '--out', tmp_path / 'out')
    metrics = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    state = load_file(tmp_path / 'w' / 'epoch_2.pth')['state_dict']
    x = torch.arange(16) / 16
    expected = (state['line.weight'][0] * x + state['line.bias'] - 2 * x).square().mean()
    assert metrics['count'] == 16
    assert metrics['error'] == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(('arguments', 'message'), [
    (['--cfg-options', 'train_cfg.max_epoch=3'], "train_cfg.max_epoch.*did you mean 'max_epochs'"),
    (['--cfg-options', 'max_epochs=3'], 'did you mean train_cfg.max_epochs'),
    (['--cfg-options', 'model.init_cfg.checkpoint=x.pth'], 'set model.init_cfg.type=Pretrained'),
    (['--resume', 'no_such.pth'], 'no_such.pth'),
    (['--launcher', 'slurm'], 'dist_train.sh'),
])
def test_training_stops_with_one_clear_message(call, config, arguments, message):
    if torch.cuda.is_available() and '--launcher' in arguments:
        pytest.skip('slurm without a GPU: this machine has one')
    with pytest.raises(SystemExit) as stop:
        call('train.py', config, *arguments)
    assert re.search(message, str(stop.value)), stop.value


def test_training_needs_a_whole_batch(call, config, tmp_path):
    config.write_text(CONFIG.replace('batch_size=4', 'batch_size=32, drop_last=True', 1))
    for more in ((), ('--estimate', '1')):
        with pytest.raises(SystemExit, match=r'train.py.*: 16 images, batches of 32: not one batch '
                                             r'is full.*train_dataloader.batch_size=16 or less'):
            call('train.py', config, *more)
    call('train.py', config, '--cfg-options', 'train_dataloader.batch_size=16')
    assert (tmp_path / 'work_dirs' / 'tiny' / 'epoch_2.pth').is_file()


@pytest.mark.parametrize(('tool', 'arguments', 'message'), [
    ('quickstart.py', ['--epochs', '1', '1'], 'a stage takes at least 2'),
    ('quickstart.py', ['--seeds', '0'], '--seeds must be at least 1, got 0'),
    ('quickstart.py', ['--held-out', '0'], '--held-out must be at least 1, got 0'),
    ('run_ablation.py', ['--table', 'I', '--epochs', '3', '1'], 'a stage takes at least 2'),
    ('run_ablation.py', ['--table', 'I', '--identities', '0'], '--identities must be at least 1')])
def test_what_cannot_be_run_is_refused_before_anything_is(
        call, tmp_path, capsys, tool, arguments, message):
    with pytest.raises(SystemExit) as stop:
        call(tool, *arguments)
    assert stop.value.code == 2 and message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_testing_refuses_weights_that_do_not_fit(call, config, tmp_path):
    call('train.py', config, '--work-dir', tmp_path / 'w')
    content = load_file(tmp_path / 'w' / 'epoch_2.pth')
    del content['state_dict']['line.bias']
    torch.save(content, tmp_path / 'other.pth')
    with pytest.raises(SystemExit, match=r'(?s)does not fit TinyModel.*1 missing: line.bias'):
        call('test.py', config, tmp_path / 'other.pth')


def test_testing_names_what_is_missing(call, config, tmp_path):
    with pytest.raises(SystemExit, match='no checkpoint'):
        call('test.py', config, tmp_path / 'none.pth')
    (tmp_path / 'some.pth').touch()
    config.write_text(CONFIG.replace('test_evaluator', 'nothing'))
    with pytest.raises(SystemExit, match='no test_evaluator'):
        call('test.py', config, tmp_path / 'some.pth')


COMMANDS = [*sorted(TOOLS.rglob('*.py')), *sorted((ROOT / 'clasp_mm/cli').rglob('*.py'))]
OUTPUTS = ('--out', '--html', '--work-dir')


def test_commands_write_below_work_dirs_unless_told_otherwise():
    """Elsewhere their files would lie about in the checkout; data/ is left to data."""
    defaults = {f'{verb} {action.option_strings[0]}': str(action.default)
                for verb, name in MODULES.items()
                for action in parser_of(import_module(f'clasp_mm.cli.{name}'), verb)._actions
                if {*action.option_strings} & {*OUTPUTS} and action.default is not None}
    assert len(defaults) >= 12
    wrong = {name: text for name, text in defaults.items()
             if not re.match('(work_dirs|data)/', text)}
    assert not wrong


def test_documented_commands_write_below_work_dirs():
    told = {}
    for path in (*COMMANDS, *TOOLS.rglob('*.sh'), *(ROOT / 'configs').rglob('*.md'),
                 *PAGES):
        for command in re.findall(r'(?m)(?:python |bash |clasp |^ +--)[^`\n]*', path.read_text()):
            for value in re.findall(rf'(?:{"|".join(OUTPUTS)}) ([a-z~/]\S*)', command):
                told[f'{path.name}: {value}'] = value
    assert len(told) > 20
    assert [place for place, value in told.items()
            if not re.match('work_dirs/|data/|~|/', value)] == []


@pytest.mark.parametrize('path', sorted(TOOLS.rglob('*.py')), ids=lambda path: path.name)
def test_python_tools_are_thin(path):
    text = path.read_text()
    assert len(text.splitlines()) < 150, 'a tool parses arguments and calls the library'
    assert "if __name__ == '__main__':" in text


@pytest.mark.parametrize('path', sorted(TOOLS.rglob('*.sh')), ids=lambda path: path.name)
def test_shell_tools_parse(path):
    done = subprocess.run(['bash', '-n', str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def echo(tmp_path) -> Path:
    """A program that prints its arguments and two variables instead of starting anything."""
    path = tmp_path / 'echo.sh'
    path.write_text('#!/usr/bin/env bash\necho "$@"\necho "omp=$OMP_NUM_THREADS '
                    'port=${MASTER_PORT:-}"\n')
    path.chmod(0o755)
    return path


def test_dist_train_on_one_machine_lets_torchrun_find_a_port(echo, config):
    done = shell('dist_train.sh', config, 2, '--amp', 'bf16',
                 environment={'PYTHON': str(echo), 'OMP_NUM_THREADS': '3'})
    assert done.stdout.splitlines() == [
        f'-m torch.distributed.run --standalone --nproc_per_node 2 {TOOLS}/train.py {config} '
        '--launcher pytorch --amp bf16', 'omp=3 port=']


def test_dist_train_on_many_machines(echo, config):
    machines = {'PYTHON': str(echo), 'NNODES': '4', 'MASTER_ADDR': '10.0.0.1'}
    done = shell('dist_train.sh', config, 8, environment={**machines, 'NODE_RANK': '3'})
    assert ('--nnodes 4 --node_rank 3 --master_addr 10.0.0.1 --master_port 29500 '
            '--nproc_per_node 8') in done.stdout
    done = shell('dist_train.sh', config, 8, environment=machines)
    assert done.returncode != 0 and 'set NODE_RANK' in done.stderr


def test_dist_test_passes_the_checkpoint(echo, config):
    done = shell('dist_test.sh', config, 'epoch_1.pth', 2, '--out', 'scores',
                 environment={'PYTHON': str(echo)})
    assert done.stdout.splitlines()[0].endswith(
        f'{TOOLS}/test.py {config} epoch_1.pth --launcher pytorch --out scores')


def test_slurm_train_asks_for_what_it_needs(echo, config, tmp_path):
    (tmp_path / 'srun').symlink_to(echo)
    path = {'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'PYTHON': 'python3.11',
            'SRUN_ARGS': '--quotatype=spot --exclude=n1'}
    done = shell('slurm_train.sh', 'gpu', 'pretrain', config, 'w', 16, '--resume',
                 environment=path)
    first, second = done.stdout.splitlines()
    assert first == (
        '--partition=gpu --job-name=pretrain --gres=gpu:8 --ntasks=16 --ntasks-per-node=8 '
        '--cpus-per-task=8 --kill-on-bad-exit=1 --quotatype=spot --exclude=n1 '
        f'python3.11 -u {TOOLS}/train.py {config} --work-dir w --launcher slurm --resume')
    assert 20000 <= int(second.split('port=')[1]) < 40000
    done = shell('slurm_train.sh', 'gpu', 'p', config, 'w', environment={**path, 'GPUS': '4'})
    assert '--gres=gpu:4 --ntasks=4 --ntasks-per-node=4' in done.stdout


@pytest.mark.parametrize(('script', 'arguments'), [
    ('dist_train.sh', ['config.py']), ('dist_train.sh', ['config.py', 'two']),
    ('dist_test.sh', ['config.py', 'c.pth']), ('slurm_train.sh', ['gpu', 'job']),
    ('setup.sh', ['--with-opps'])])
def test_wrong_arguments_print_the_usage(script, arguments):
    done = shell(script, *arguments)
    assert done.returncode == 2
    assert f'tools/{script}' in done.stderr


def test_setup_does_not_touch_a_folder_that_is_no_environment(tmp_path):
    precious = tmp_path / 'thesis'
    precious.mkdir()
    (precious / 'chapter.txt').write_text('x')
    done = shell('setup.sh', '--venv', precious)
    assert done.returncode == 1
    assert 'is no Python environment' in done.stderr and 'What to do' in done.stderr
    assert [path.name for path in precious.iterdir()] == ['chapter.txt']


def test_setup_says_which_python_to_install(tmp_path):
    """With no Python of a right version to be found."""
    (tmp_path / 'bin').mkdir()
    for name in ('python3', *(f'python3.{minor}' for minor in range(10, 15)), 'python'):
        fake = tmp_path / 'bin' / name
        fake.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.8.1"; exit 1\n')
        fake.chmod(0o755)
    done = shell('setup.sh', '--venv', tmp_path / 'venv',
                 environment={'PATH': f'{tmp_path}/bin:/usr/bin:/bin'})
    assert done.returncode == 1
    assert 'no Python 3.10 or newer found (python3 is Python 3.8.1)' in done.stderr
    assert 'python3-venv' in done.stderr
    assert not (tmp_path / 'venv').exists()


def test_setup_says_which_step_failed(tmp_path):
    done = shell('setup.sh', '--venv', tmp_path / 'venv', environment={
        'PIP_NO_INDEX': '1', 'PIP_FIND_LINKS': '', 'PIP_CONFIG_FILE': os.devnull}, timeout=120)
    assert done.returncode == 1
    assert 'set-up stopped in step 1 of 4 (torch and torchvision)' in done.stderr
    assert 'PIP_INDEX_URL' in done.stderr and 'run the same command again' in done.stderr


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_whole_batch(call, config, tmp_path):
    """Gradients are averaged over the processes; gloo, without a GPU."""
    processes = {'PYTHON': sys.executable, 'CUDA_VISIBLE_DEVICES': '-1', 'PYTHONPATH': str(ROOT)}
    fixed = ['--cfg-options', 'train_dataloader.sampler.shuffle=False', 'train_cfg.max_epochs=2']
    call('train.py', config, '--work-dir', tmp_path / 'one', *fixed,
         'train_dataloader.batch_size=8')
    done = shell('dist_train.sh', config, 2, '--work-dir', tmp_path / 'two', *fixed,
                 environment=processes)
    assert done.returncode == 0, done.stderr[-2000:]
    torch.testing.assert_close(
        weights(tmp_path / 'two' / 'epoch_2.pth'), weights(tmp_path / 'one' / 'epoch_2.pth'))
    done = shell('dist_test.sh', config, tmp_path / 'two' / 'epoch_2.pth', 2, '--out',
                 tmp_path, environment=processes)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / 'metrics.json').read_text())['count'] == 16


@pytest.mark.slow
def test_setup_keeps_a_working_torch_and_does_nothing_twice(tmp_path):
    """An environment that sees this one's packages, as on a cluster: nothing is downloaded."""
    venv = tmp_path / 'venv'
    subprocess.run([sys.executable, '-m', 'venv', str(venv)], check=True)
    subprocess.run([venv / 'bin' / 'python', '-m', 'pip', 'uninstall', '-qy', 'setuptools'],
                   check=True)
    site = next(venv.glob('lib/python*/site-packages'))
    (site / 'seen.pth').write_text(str(Path(torch.__file__).parents[1]) + '\n')
    offline = {'PIP_NO_INDEX': '1', 'PIP_FIND_LINKS': '', 'PIP_EXTRA_INDEX_URL': ''}
    done = shell('setup.sh', '--venv', venv, '--with-tests', environment=offline, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'are there and work: kept' in done.stdout
    assert not (site / 'torch').exists()
    again = shell('setup.sh', '--venv', venv, '--with-tests', environment=offline)
    assert again.stdout.startswith(f'{venv} is set up (all tests)')

    # a package that has gone, or a broken pair, is seen although the set-up was finished once
    (site / 'torchvision').mkdir()
    (site / 'torchvision' / '__init__.py').write_text('raise RuntimeError("operator nms")')
    (venv / '.clasp_mm' / 'all').unlink()
    broken = shell('setup.sh', '--venv', venv, environment=offline, timeout=600)
    assert broken.returncode == 1
    assert 'do not work together: RuntimeError: operator nms' in broken.stdout
    assert 'set-up stopped in step 1' in broken.stderr

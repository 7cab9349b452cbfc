"""What ``clasp install`` would run, with pip, torch and mmcv played; nothing is installed."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from clasp_mm import cli
from clasp_mm.cli import install
from clasp_mm.utils import packages
from tests.source_tree import ROOT

HOSTS = {'mmdet': '3.3.0', 'mmsegmentation': '1.2.2', 'mmpose': '1.3.2'}
TOOLS = {'pip': '26.0', 'packaging': '26.0', 'setuptools': '81.0.0', 'wheel': '0.46'}


class Machine:
    """An environment whose pip only notes what it is asked for."""

    def __init__(self, there):
        self.there = there
        self.commands = []
        self.fails = ''
        self.torch_fault = ''
        self.doctor = 0

    def call(self, command, log, tell):
        line = ' '.join(command)
        self.commands.append(line.replace(sys.executable, 'python').replace(str(ROOT), 'ROOT'))
        words = line.split()
        if 'uninstall' in words:
            for name in list(self.there):
                if name in words:
                    del self.there[name]
        for name, version in re.findall(r'(torch|torchvision)===(\S+)', line):
            self.there[name], self.torch_fault = version, ''
        for name in re.findall(r'(mmcv-lite|mmcv)>=', line):
            self.there[name] = '2.1.0'
        return not (self.fails and self.fails in line)

    def pips(self):
        """The commands, without what is the same in all."""
        same = 'python -m pip --disable-pip-version-check --no-input '
        return [line.removeprefix(same) for line in self.commands]


@pytest.fixture
def machine(monkeypatch, tmp_path):
    machine = Machine({**TOOLS})
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    monkeypatch.setattr(packages, 'call', machine.call)
    monkeypatch.setattr(packages, 'installed_versions', lambda names: {
        name: machine.there[name] for name in names if name in machine.there})
    monkeypatch.setattr(install, 'installed', lambda name: name in machine.there)
    monkeypatch.setattr(install, 'torch_fault', lambda: machine.torch_fault or (
        '' if 'torch' in machine.there else 'torch is not there'))
    monkeypatch.setattr(install, 'has_compiled', lambda: 'mmcv' in machine.there)
    monkeypatch.setattr(install, 'probe', lambda code: (True, ''))
    monkeypatch.setattr(install, 'install_operators', lambda folder: [])
    monkeypatch.setattr(install.subprocess, 'run', lambda command, **_: SimpleNamespace(
        returncode=machine.doctor, stdout='the report\n', stderr=''))
    monkeypatch.delenv('MMCV_WITH_OPS', raising=False)
    return machine


def constraints(tmp_path):
    return (tmp_path / '.clasp_mm' / 'constraints.txt').read_text().splitlines()


def test_an_empty_environment_gets_everything_and_nothing_is_built(machine, tmp_path, capsys):
    assert cli.main(['install', '--source', str(ROOT), '--with-tests']) == 0
    pin = f'-c {tmp_path}/.clasp_mm/constraints.txt'
    files = ' '.join(f'-r ROOT/requirements/{name}.txt'
                     for name in ('core', 'clip', 'tests', 'export', 'docs'))
    hosts = 'mmdet>=3.3.0,<3.4 mmsegmentation>=1.2.2,<1.3 mmpose>=1.3.2,<1.4'
    assert [re.sub(r'ROOT/clasp_mm/\.mim', 'ROOT', line) for line in machine.pips()] == [
        f'install {pin} torch===2.13.0 torchvision===0.28.0',
        f'install {pin} {files}',
        f'install {pin} --no-deps --no-build-isolation -e ROOT',
        f'install {pin} -r ROOT/requirements/host_needs.txt',
        f'install {pin} --no-deps {hosts} mmcv-lite>=2.1.0,<2.2']
    said = capsys.readouterr().out
    assert 'to download the first time: 3 GB of torch, 0.2 GB of other packages' in said
    assert said.index('to download') < said.index('[2/4] clasp_mm and the packages of its core')


def test_the_hosts_needs_hold_nothing_that_cannot_be_built():
    needs = packages.accepted_versions(('host_needs',))['host_needs']
    assert not {'chumpy', 'xtcocotools'} & set(needs)
    assert {'pycocotools', 'six', 'psutil', 'json-tricks', 'munkres', 'ftfy'} <= set(needs)


def test_without_a_clone_the_ranges_hold_and_what_is_there_is_kept(machine, capsys):
    machine.there.update(torch='2.14.1', torchvision='0.29.1', numpy='2.4.6')
    assert cli.main(['install']) == 0
    assert not any(' -c ' in line or ' -e ' in line or 'torch=' in line
                   for line in machine.commands)
    assert 'torch 2.14.1 and torchvision 0.29.1 are there and work: kept' in (
        capsys.readouterr().out)


def test_a_torch_that_works_is_kept_and_pinned(machine, tmp_path):
    machine.there.update(torch='2.11.0+cu130', torchvision='0.26.0+cu130')
    assert cli.main(['install', '--source', str(ROOT)]) == 0
    assert constraints(tmp_path)[:2] == ['torch===2.11.0+cu130', 'torchvision===0.26.0+cu130']
    assert 'numpy==1.26.4; python_version < "3.13"' in constraints(tmp_path)
    assert not any('torch===' in line for line in machine.commands)


def test_a_pair_that_does_not_work_is_replaced(machine, capsys):
    machine.there.update(torch='2.13.0+cpu', torchvision='0.28.0')
    machine.torch_fault = 'torch and torchvision do not work together: operator nms'
    assert cli.main(['install']) == 0
    assert 'operator nms: installing the tested pair' in capsys.readouterr().out
    assert machine.pips()[0] == 'install --force-reinstall torch===2.13.0 torchvision===0.28.0'


@pytest.mark.skipif(sys.platform != 'linux', reason="PyPI's torch is for the CPU elsewhere")
def test_cpu_takes_the_small_torch_and_its_own_needs_from_pypi(machine, tmp_path, capsys):
    assert cli.main(['install', '--cpu', '--source', str(ROOT)]) == 0
    pin, pair = f'-c {tmp_path}/.clasp_mm/constraints.txt', 'torch===2.13.0+cpu ' \
        'torchvision===0.28.0+cpu'
    assert machine.pips()[:2] == [
        f'install {pin} --no-deps --index-url https://download.pytorch.org/whl/cpu {pair}',
        f'install {pin} {pair}']
    assert '0.2 GB of torch' in capsys.readouterr().out
    assert constraints(tmp_path)[0] == 'torch===2.13.0+cpu'


def test_cpu_where_its_index_cannot_be_reached_says_what_to_do(machine, capsys):
    machine.fails = 'whl/cpu'
    assert cli.main(['install', '--cpu']) == 1
    said = capsys.readouterr().err
    assert 'stopped in step 1 of 4 (torch and torchvision)' in said
    assert 'put its wheels into a folder for --wheels' in said and 'leave --cpu out' in said


def test_wheels_reaches_no_index(machine, tmp_path):
    (tmp_path / 'wheels').mkdir()
    assert cli.main(['install', '--cpu', '--wheels', str(tmp_path / 'wheels')]) == 0
    offline = f'--no-index --find-links {tmp_path}/wheels'
    assert all(line.startswith(f'install {offline} ') for line in machine.pips())
    assert not any('--index-url' in line for line in machine.commands)


def test_wheels_that_are_not_there(machine, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(['install', '--wheels', str(tmp_path / 'none')])
    assert end.value.code == 2
    assert f'--wheels: {tmp_path}/none is no folder' in capsys.readouterr().err


def test_a_compiled_mmcv_is_kept(machine):
    machine.there.update(torch='2.13.0', torchvision='0.28.0', mmcv='2.1.0')
    assert cli.main(['install']) == 0
    assert not any('mmcv' in line for line in machine.commands)


@pytest.mark.parametrize(('there', 'loads', 'fault'), [
    (dict(mmcv='2.1.0'), False, 'mmcv 2.1.0 was compiled for another torch, and cannot be loaded'),
    (dict(mmcv='2.2.0'), True, 'mmcv 2.2.0 is not in the accepted'),
    ({'mmcv': '2.1.0', 'mmcv-lite': '2.1.0'}, True, 'mmcv and mmcv-lite are both installed')])
def test_an_mmcv_that_cannot_stay_gives_way(machine, monkeypatch, capsys, there, loads, fault):
    machine.there.update(torch='2.13.0', torchvision='0.28.0', **there)
    monkeypatch.setattr(install, 'probe', lambda code: (loads, ''))
    assert cli.main(['install']) == 0
    assert fault in capsys.readouterr().out
    (removal,) = (line for line in machine.pips() if line.startswith('uninstall'))
    assert removal == f'uninstall -y {" ".join(there)}'
    assert machine.pips()[-1].endswith('mmcv-lite>=2.1.0,<2.2')


def test_compiled_ops_replace_ours_on_request(machine, monkeypatch):
    machine.there.update({'torch': '2.13.0', 'torchvision': '0.28.0', 'mmcv-lite': '2.1.0'})
    assert cli.main(['install', '--compiled-ops']) == 0
    lines = machine.pips()
    removed = lines.index('uninstall -y mmcv-lite')
    assert lines[removed + 1] == 'install --no-build-isolation --no-deps mmcv>=2.1.0,<2.2'
    assert 'mmcv-lite' not in lines[-1]
    assert os.environ.pop('MMCV_WITH_OPS') == '1'


def test_a_part_that_is_not_usable_is_no_success(machine, tmp_path, capsys):
    machine.doctor = 1
    assert cli.main(['install']) == 1
    said = capsys.readouterr()
    assert 'the report' in said.out and 'stopped in step 4 of 4' in said.err
    assert not (tmp_path / '.clasp_mm' / 'all').exists()


def test_an_environment_that_cannot_be_written_is_said(machine, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, 'prefix', str(tmp_path / 'no' / 'such'))
    assert cli.main(['install']) == 1 and not machine.commands
    said = capsys.readouterr().err
    assert 'stopped in step 0 of 4 (start)' in said and 'python -m venv DIR' in said


def test_little_space_on_the_disk_is_said(machine, monkeypatch, capsys):
    monkeypatch.setattr(install.shutil, 'disk_usage', lambda _: SimpleNamespace(free=5e9))
    assert cli.main(['install']) == 0
    assert 'only 5 GB are free on its disk: the environment takes' in capsys.readouterr().out


def test_what_is_done_is_not_done_again_until_something_has_changed(
        machine, monkeypatch, tmp_path, capsys):
    accepted = packages.accepted_versions()
    monkeypatch.setattr(install, 'mmcv_folder', lambda: tmp_path)
    machine.there.update({name: '1' for name in accepted['core'] | accepted['host_needs']})
    machine.there.update({
        **HOSTS, **TOOLS, 'torch': '2.13.0', 'torchvision': '0.28.0', 'numpy': '1.26.4',
        'mmengine': '0.10.7', 'mmpretrain': '1.2.0', 'open_clip_torch': '3.3.0', 'timm': '1.0.31',
        'clasp_mm': '0.2.0'})
    assert cli.main(['install']) == 0 and machine.commands
    (tmp_path / '_ext.py').touch()
    machine.commands.clear()
    capsys.readouterr()
    assert cli.main(['install']) == 0
    assert capsys.readouterr().out == f'{tmp_path} is set up (all)\n' and not machine.commands
    assert cli.main(['install', '--compiled-ops']) == 0 and machine.commands
    for name, there in (('mmpose', None), ('mmdet', '3.2.0'), ('mmsegmentation', '1.3.0')):
        machine.commands.clear()
        with monkeypatch.context() as patch:
            if there:
                patch.setitem(machine.there, name, there)  # a host too old, one too new
            else:
                patch.delitem(machine.there, name)
            assert cli.main(['install']) == 0
        assert f'{name}>=' in ' '.join(machine.commands)


@pytest.mark.parametrize(('pip', 'uv', 'beginning'), [
    (True, True, f'{sys.executable} -m pip --disable-pip-version-check --no-input install'),
    (False, True, f'/bin/uv pip install --python {sys.executable} --compile-bytecode'),
    (False, False, f'{sys.executable} -m pip --disable-pip-version-check --no-input install')])
def test_uv_serves_where_there_is_no_pip(monkeypatch, pip, uv, beginning):
    ran = []
    monkeypatch.setattr(packages, 'installed', lambda name: pip)
    monkeypatch.setattr(packages.shutil, 'which', lambda name: '/bin/uv' if uv else None)
    monkeypatch.setattr(packages.subprocess, 'run', lambda command, **_: (
        ran.append(command[1:]), SimpleNamespace(returncode=0))[1])
    assert ' '.join(packages.installer('install')) == beginning
    assert ran == ([] if pip or uv else [['-m', 'ensurepip']])


def test_neither_pip_nor_uv_is_said(monkeypatch):
    monkeypatch.setattr(packages, 'installed', lambda name: False)
    monkeypatch.setattr(packages.shutil, 'which', lambda name: None)
    monkeypatch.setattr(packages.subprocess, 'run', lambda *_, **__: SimpleNamespace(returncode=1))
    with pytest.raises(RuntimeError, match='has no pip, and there is no uv'):
        packages.installer('install')


@pytest.mark.parametrize(('line', 'said'), [
    ('Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (899.8 MB)',
     'torch 2.13.0 (899.8 MB)'),
    ('Using cached mmdet-3.3.0-py3-none-any.whl (2.2 MB)', 'mmdet 3.3.0 (2.2 MB)'),
    ('Downloading nvidia-nccl-cu13 (196.4MiB)', 'nvidia-nccl-cu13 (196.4MiB)'),  # of uv
    ('Downloading mmdet-3.3.0-py3-none-any.whl.metadata (29 kB)', ''),
    ('Installing collected packages: a, b, c', 'installing 3 packages ...'),
    ('ERROR: No matching distribution found for x', 'ERROR: No matching distribution found for x'),
    ('Requirement already satisfied: six', '')])
def test_the_screen_shows_what_tells_how_far_it_is(line, said):
    assert packages.telling(line) == said


def test_output_goes_to_the_log_and_failure_is_seen(tmp_path):
    told = []
    code = 'import sys; print("ERROR: no"); print("more"); sys.exit(3)'
    assert not packages.call([sys.executable, '-c', code], tmp_path / 'log', told.append)
    assert told == ['ERROR: no'] and 'more' in (tmp_path / 'log').read_text()


def test_the_set_up_needs_nothing_but_python_itself():
    """``-S`` leaves site-packages out."""
    done = subprocess.run([sys.executable, '-S', '-m', 'clasp_mm', 'install', '--help'], cwd=ROOT,
                          capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0 and '--compiled-ops' in done.stdout, done.stderr


def test_a_config_whose_training_nothing_serves_is_refused_before_its_first_step(
        monkeypatch, tmp_path):
    from clasp_mm.engine.launch import load_config
    monkeypatch.setattr('clasp_mm.compat.switch.operators_in_use', lambda: "clasp_mm's")
    path = Path(tmp_path, 'c.py')
    path.write_text("model = dict(type='mmengine.ImgDataPreprocessor')\n"
                    "norm = dict(type='mmcv.MMSyncBN')\n")
    monkeypatch.setattr('clasp_mm.engine.launch.check_config', lambda *_, **__: None)
    with pytest.raises(NotImplementedError, match=r"^type='MMSyncBN' in the config"):
        load_config(str(path))


@pytest.mark.parametrize(('scope', 'there', 'said'), [
    ('mmdet', {'mmdet': '3.2.0', 'mmcv': '2.1.0'}, ['mmdet 3.2.0 is not in the accepted '
                                                    '>=3.3.0,<3.4']),
    ('mmseg', {'mmsegmentation': '1.3.0'}, ['mmsegmentation 1.3.0 is not in the accepted '
                                            '>=1.2.2,<1.3']),
    ('mmseg', {'mmsegmentation': '1.2.2', 'mmdet': '3.2.0', 'mmcv': '2.2.0'},
     ['mmcv 2.2.0 is not in the accepted >=2.1.0,<2.2']),
    ('mmpose', {'mmcv': '2.1.0', 'mmcv-lite': '2.1.0'},
     ['mmcv and mmcv-lite are both installed, and share one folder']),
    ('mmengine', {'mmengine': '0.10.7'}, []), ('clasp_mm', {}, [])])
def test_a_training_warns_of_versions_that_are_not_accepted(
        monkeypatch, tmp_path, said, scope, there):
    from clasp_mm.engine import launch
    monkeypatch.setattr(packages, 'installed_versions', lambda names: {
        name: there[name] for name in names if name in there})
    assert packages.unaccepted(scope) == said
    monkeypatch.setattr(launch, 'check_config', lambda *_, **__: None)
    warned = []
    monkeypatch.setattr(launch, 'print_log', lambda text, *_: warned.append(text))
    path = tmp_path / 'c.py'
    path.write_text(f'default_scope = {scope!r}\n')
    launch.load_config(str(path))
    assert warned == [f'{fault}: `clasp install` mends that' for fault in said]

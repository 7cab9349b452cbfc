"""The GPU check can fail, and runs without a GPU at tiny sizes."""

import json
import runpy
import sys
import warnings
from importlib import import_module

import pytest
import torch

from benchmarks.gpu_check import correct, steps
from benchmarks.gpu_check.command import STAGES
from benchmarks.gpu_check.correct import agree, relative_errors
from benchmarks.stages import Report
from tests.source_tree import ROOT

TOOL = str(ROOT / 'tools' / 'gpu_check.py')


@pytest.fixture
def report(tmp_path):
    return Report(str(tmp_path), 'stage', str(tmp_path), float('inf'), smoke=True)


def rows(report):
    return [json.loads(line) for line in (report.out / 'results.jsonl').read_text().splitlines()]


@pytest.fixture
def tool(monkeypatch):
    def call(*arguments):
        monkeypatch.setattr(sys, 'argv', ['gpu_check.py', *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(TOOL, run_name='__main__')
        return stop.value.code
    return call


def test_relative_errors_by_hand():
    expected = dict(a=torch.tensor([3., 4.]), b=torch.tensor([0., 1e-9]), c=torch.tensor([1.]))
    found = dict(a=torch.tensor([3., 4.5]), b=torch.tensor([1e-4, 0.]), c=torch.tensor([1.]))
    # |(0, .5)| / |(3, 4)| = .5 / 5; b's 1e-4 by a thousandth of the middle norm of 5, 1e-9 and 1
    assert relative_errors(found, expected) == pytest.approx(dict(a=0.1, b=0.1, c=0.))
    del found['c']
    assert relative_errors(found, expected)['c'] == float('inf')


@pytest.mark.parametrize(('change', 'ok'), [
    (dict(out=torch.tensor([1.00005])), True), (dict(out=torch.tensor([1.0002])), False),
    ({'d w': torch.tensor([1.0005])}, True), ({'d w': torch.tensor([1.002])}, False),
    ({'d w': torch.tensor([float('nan')])}, False), ({'d other': torch.tensor([1.])}, False)])
def test_a_device_that_computes_something_else_is_not_ok(report, change, ok):
    one = {'out': torch.tensor([1.]), 'd w': torch.tensor([1.])}
    answers = iter([one, {**one, **change}])
    agree(report, 'sum', lambda device: next(answers), torch.device('cpu'))
    row, = rows(report)
    assert row['ok'] == ok and row['worst'] in {**one, **change}
    assert ok or row['worst'] == next(iter(change))


def test_regions_that_differ_are_not_ok(report, monkeypatch):
    find, calls = correct.find_regions, []

    def second_call_is_wrong(*args):
        calls.append(args)
        regions = find(*args)
        return regions if len(calls) != 2 else regions.flip(2)

    monkeypatch.setattr(correct, 'find_regions', second_call_is_wrong)
    correct._clustering(report, torch.device('cpu'))
    assert {row['name']: row['ok'] for row in rows(report)} == {
        'k-means': True, 'regions, norm': False, 'regions, feature': True,
        'regions, centre': True, 'regions of an image alone and in a batch': True}


def test_a_gather_whose_gradients_change_is_not_ok(report, monkeypatch):
    real = correct.to_windows

    def noisy(x, padding, layout):
        out = real(x, padding, layout)
        out.register_hook(lambda grad: grad + 1e-6 * torch.rand_like(grad))
        return out

    monkeypatch.setattr(correct, 'to_windows', noisy)
    correct._windows(report, torch.device('cpu'))
    assert [row['ok'] for row in rows(report)] == [False, False]


def test_host_waits_are_told_by_their_places(monkeypatch):
    modes = []
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda device: None)
    monkeypatch.setattr(torch.cuda, 'set_sync_debug_mode', modes.append)

    def call():
        for _ in range(2):
            warnings.warn('called a synchronizing CUDA operation', stacklevel=1)
        warnings.warn('something else', stacklevel=1)

    waits = steps.host_waits(call, torch.device('cuda'))
    line = call.__code__.co_firstlineno + 2
    assert waits == {f'test_gpu_check.py:{line}': 2} and modes == ['warn', 'default']


def test_every_stage_is_there():
    for stage in STAGES.values():
        module, function = stage.target.split(':')
        assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize(('arguments', 'message'), [
    (['--smoke', '--budget', '0'], 'more than 0 seconds, got 0'),
    (['--smoke', '--only', 'steps', '--skip', 'steps'], 'leave no stage'),
    (['--only', 'speed'], "invalid choice: 'speed'"),
    ([], 'torch sees no GPU; --smoke runs without one')])
def test_what_cannot_be_run_is_refused(tool, monkeypatch, tmp_path, capsys, arguments, message):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert tool('--out', tmp_path / 'out', *arguments) == 2
    assert message in capsys.readouterr().err and not (tmp_path / 'out').exists()


def test_a_check_that_is_not_ok_is_the_exit_code(tool, monkeypatch, tmp_path, capsys):
    # The stage's process cannot import torch.
    (tmp_path / 'torch.py').write_text('raise ImportError("no torch today")')
    monkeypatch.setenv('PYTHONPATH', f'{tmp_path}:{ROOT}')
    assert tool('--out', tmp_path / 'out', '--smoke', '--only', 'machine') == 1
    said = capsys.readouterr().out
    assert 'ImportError: no torch today' in said and said.endswith('\n0 ok, 1 not ok\n')


@pytest.mark.slow
def test_smoke(tool, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    assert tool('--out', tmp_path / 'out', '--smoke', '--only', 'correct', 'labels') == 0
    results = [json.loads(line) for line in (tmp_path / 'out' / 'results.jsonl').open()]
    assert {row['stage'] for row in results} == {'correct', 'labels'}
    checks = [row for row in results if 'ok' in row]
    assert len(checks) >= 25 and all(row['ok'] for row in checks)
    assert capsys.readouterr().out.endswith(f'\n{len(checks)} ok, 0 not ok\n')
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {
        'results.jsonl', 'correct.log', 'labels.log'}

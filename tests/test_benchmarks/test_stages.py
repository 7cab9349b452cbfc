"""A stage that crashes or hangs costs no other."""

import json
import os
import time
from pathlib import Path

import pytest

from benchmarks.stages import Stage, run_stages
from tests.source_tree import ROOT


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs examples by name: how many rows are not ok, and the rows by stage and name."""
    monkeypatch.setenv('PYTHONPATH', str(ROOT))

    def call(*names, budget=60., **shares):
        stages = {name: Stage(f'tests.stage_examples:{name}', shares.get(name, 1.))
                  for name in names}
        wrong = run_stages(stages, tmp_path / 'out', budget)
        lines = (tmp_path / 'out' / 'results.jsonl').read_text().splitlines()
        rows = [json.loads(line) for line in lines if not line.startswith('{"stage": "cut_off"')]
        return wrong, {(row['stage'], row['name']): row for row in rows}
    return call


def alive(pid):
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_a_stage_that_crashes_or_hangs_costs_no_other(run, capsys):
    begin = time.monotonic()
    wrong, rows = run('dies', 'hangs', 'raises', 'good', budget=40., hangs=.1)
    assert time.monotonic() - begin < 40
    assert wrong == 3
    assert [rows[name, 'stage']['ok'] for name in ('dies', 'hangs', 'raises', 'good')] == [
        False, False, False, True]
    assert rows['dies', 'before']['ok'] and rows['good', 'sum']['ok']
    assert rows['dies', 'stage']['error'] == f'exit status {-6}'
    assert rows['hangs', 'stage']['error'] == 'its time was over'
    assert rows['raises', 'stage']['tail'][-1] == 'RuntimeError: stage fell'
    assert not alive(rows['hangs', 'child']['pid'])
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == '4 ok, 3 not ok'
    assert 'good: speed: ms 1.5' in said
    assert sum(line.startswith('NOT OK: ') for line in said) == 3


def test_time_that_one_does_not_need_goes_to_the_next(run):
    _, rows = run('good', 'hangs', budget=10., good=4.)  # 2 s for the second, were it not so
    assert rows['hangs', 'stage']['seconds'] > 2.2


def test_a_row_that_was_cut_off_hides_nothing(run, capsys):
    wrong, _ = run('cut_off', 'good')
    said = capsys.readouterr().out
    assert wrong == 1 and 'NOT OK: cut_off, stage' in said
    assert said.splitlines()[-1] == '2 ok, 1 not ok'


def test_parts_fail_alone(run, capsys):
    wrong, rows = run('of_parts')
    assert wrong == 1
    assert rows['of_parts', 'first']['error'] == 'ValueError: 3 apples'
    assert rows['of_parts', 'large']['left_out'] == 'out of memory'
    assert rows['of_parts', 'after']['ok'] and rows['of_parts', 'stage']['ok']
    assert not os.path.exists(rows['of_parts', 'work']['folder'])
    assert capsys.readouterr().out.splitlines()[-1] == '2 ok, 1 not ok, 1 left out'


def test_a_part_for_which_no_time_is_left_is_left_out(run):
    wrong, rows = run('slow_parts', budget=8.)
    assert wrong == 0 and ('slow_parts', 'slept') in rows
    assert rows['slow_parts', 'twice']['left_out'].endswith(' s left')


def test_results_are_written_anew(run):
    run('dies')
    wrong, rows = run('good')
    assert wrong == 0 and {stage for stage, _ in rows} == {'good'}

import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from clasp_mm.compat import allow_mmengine_checkpoints
from clasp_mm.engine.hooks import run_record_hook
from clasp_mm.engine.hooks.run_record_hook import cut_metrics
from clasp_mm.engine.provenance import describe_changes, git_state
from clasp_mm.engine.run_report import write_run_report
from tests.test_engine.test_teacher_hook import make_config, people, read_scalars  # noqa: F401


def train(people, work_dir, **changes):  # noqa: F811
    for kept in (MMLogger, MessageHub, Visualizer):
        kept._instance_dict.clear()  # a new process would not know the last run
    cfg = make_config(people, work_dir, **changes)
    cfg.custom_hooks += [dict(type='clasp_mm.HealthHook', interval=2, num_images=4),
                         dict(type='clasp_mm.RunRecordHook')]
    cfg.default_hooks.checkpoint = dict(type='mmengine.CheckpointHook', interval=1)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def read_rows(folder):
    return [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]


@pytest.fixture(scope='module')
def run(people, tmp_path_factory):  # noqa: F811
    """A run of two epochs that was killed in the third and then resumed."""
    allow_mmengine_checkpoints()
    folder = tmp_path_factory.mktemp('runs') / 'a run'
    train(people, folder, **{'train_cfg.max_epochs': 2})
    first = read_scalars(folder)
    with open(folder / 'metrics.jsonl', 'a') as file:  # what the killed epoch had logged
        file.write('{"loss": 1.0, "step": 5}\n{"loss": 1.0, "st')
    train(people, folder, resume=True)
    return folder, first


def test_metrics_go_on_without_a_gap_or_a_double(run):
    folder, first = run
    rows = read_rows(folder)
    assert [row['step'] for row in rows] == [1, 2, 3, 4, 5, 6]
    logged = {row['step']: row['loss_dino'] for row in first if 'loss_dino' in row}
    assert {row['step']: row['loss_dino'] for row in rows[:4]} == logged
    assert ['health/status' in row for row in rows] == [False, True] * 3
    assert all('loss_dino' in row and row['epoch'] == (row['step'] + 1) // 2 for row in rows)


def test_every_start_is_recorded(run):
    starts = json.loads((run[0] / 'environment.json').read_text())
    assert [start['step'] for start in starts] == [0, 4]
    assert starts[0]['versions']['torch'] == torch.__version__
    assert starts[0]['processes'] == 1
    assert [start['step'] for start in json.loads((run[0] / 'git.json').read_text())] == [0, 4]


def test_report_names_health_and_files(run):
    page = (run[0] / 'report.html').read_text()
    assert re.search(r'badge[^>]*>(green|amber|red)</span> at step 6', page)
    assert '3 looks' in page and 'data:image/png' in page
    assert '<dd>clasp_mm.DINO on clasp_mm.PCMoESwin</dd>' in page and '<dt>command</dt>' in page
    links = re.findall(r'href="([^"]+)"', page)
    assert {'epoch_3.pth', 'metrics.jsonl', 'git.json'} <= set(links)
    assert all((run[0] / link).is_file() for link in links)


def test_a_new_run_in_the_folder_starts_its_metrics_anew(people, tmp_path):  # noqa: F811
    (tmp_path / 'metrics.jsonl').write_text('{"step": 3, "loss": 9.0}\n')
    train(people, tmp_path, **{'train_cfg.max_epochs': 1})
    rows = read_rows(tmp_path)
    assert [row['step'] for row in rows] == [1, 2] and rows[0]['loss'] != 9
    (tmp_path / 'epoch_1.pth').rename(tmp_path / 'epoch_7.pth')
    runner = train(people, tmp_path, **{'train_cfg.max_epochs': 1})
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert 'holds checkpoints of another run' in log and 'epoch_7.pth now' in log


def test_cutting_keeps_what_is_whole(tmp_path):
    path = tmp_path / 'metrics.jsonl'
    cut_metrics(path, 3)
    assert not path.exists()
    path.write_text('{"step": 1}\n{"step": 3}\n{"step": 4}\n{"ste')
    cut_metrics(path, 3)
    assert path.read_text() == '{"step": 1}\n{"step": 3}\n'
    path.write_text('{"step": 1}\n{"step": 2}')  # without its end, the next line would join it
    cut_metrics(path, 3)
    assert path.read_text() == '{"step": 1}\n'
    old = ''.join(f'{{"step": {step}, "epoch_length": 8}}\n' for step in (2, 4, 5))
    path.write_text(old + '{"step": 6')
    for _ in range(2):  # step 4 of old is 2 of now, 5 is not yet done; killed and resumed again
        cut_metrics(path, 2, epoch_length=4)
        assert path.read_text() == ''.join(
            f'{{"step": {step}, "epoch_length": 4}}\n' for step in (1, 2))
    rows = [f'{{"step": {step}, "epoch_length": 6}}\n' for step in (8, 9)]
    path.write_text(''.join(rows))  # of drop_last: 8 of 6 an epoch is iteration 33 of 25
    cut_metrics(path, 33, epoch_length=25, saved=dict(step=8, epoch_length=6))
    assert path.read_text() == '{"step": 33, "epoch_length": 25}\n'
    path.write_text('{"step": 31, "epoch_length": 31}\n')
    cut_metrics(path, 255, epoch_length=255)
    assert path.read_text() == '{"step": 255, "epoch_length": 255}\n'


def test_values_that_are_not_finite_are_null_and_can_be_drawn(tmp_path):
    from clasp_mm.engine import RunRecordHook
    hook = RunRecordHook()
    hook.folder = tmp_path
    for step in (1, 2):
        hook._append(step, {'loss': float('nan') if step == 2 else 1.5})
    assert read_rows(tmp_path) == [{'loss': 1.5, 'step': 1}, {'loss': None, 'step': 2}]
    assert 'data:image/png' in write_run_report(tmp_path).read_text()


def test_a_run_too_short_to_log_ends_well(people, tmp_path):  # noqa: F811
    cfg = make_config(people, tmp_path / 'run', custom_hooks=[dict(type='clasp_mm.RunRecordHook')])
    cfg.train_cfg = dict(by_epoch=False, max_iters=1)
    cfg.default_hooks.logger.interval = 50
    cfg.param_scheduler = None
    Runner.from_cfg(cfg).train()
    assert not (tmp_path / 'run/report.html').exists()


def test_a_report_needs_metrics(tmp_path):
    with pytest.raises(FileNotFoundError, match='RunRecordHook'):
        write_run_report(tmp_path)


def test_git_state_tells_commit_and_changes(tmp_path):
    def git(*arguments):
        return subprocess.run(
            ['git', '-C', str(tmp_path), '-c', 'user.name=a', '-c', 'user.email=a@b', *arguments],
            check=True, capture_output=True).stdout

    assert git_state(tmp_path) is None
    git('init', '-q')
    (tmp_path / 'code.py').write_text('1\n')
    git('add', 'code.py')
    git('commit', '-qm', 'one')
    clean = git_state(tmp_path)
    assert clean == dict(commit=git('rev-parse', 'HEAD').decode().strip(), dirty=False,
                         changed=[], diff_sha256=None)
    (tmp_path / 'code.py').write_text('2\n')
    changed = git_state(tmp_path)
    expected = hashlib.sha256(git('diff', 'HEAD')).hexdigest()
    assert changed == dict(clean, dirty=True, changed=['code.py'], diff_sha256=expected)
    (tmp_path / 'code.py').write_text('3\n')
    assert git_state(tmp_path)['diff_sha256'] != expected


def test_only_code_makes_a_checkout_dirty(tmp_path):
    def git(*arguments):
        subprocess.run(
            ['git', '-C', str(tmp_path), '-c', 'user.name=a', '-c', 'user.email=a@b', *arguments],
            check=True, capture_output=True)

    def write(name):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('x')

    git('init', '-q')
    (tmp_path / '.gitignore').write_text('work_dirs/\n')
    write('clasp_mm/__init__.py')
    write('zoo/old.py')
    git('add', '.')
    git('commit', '-qm', 'one')
    (tmp_path / 'zoo/old.py').unlink()
    for name in ('zoo/model.py', 'features.npy', 'choose_prompt.json', 'search.html',
                 'demo/predictions.json', 'work_dirs/run/config.py',
                 'env/lib/python3/site-packages/x.py'):
        write(name)
    package = tmp_path / 'clasp_mm'  # what is asked from below the top is of the whole checkout
    assert git_state(package)['changed'] == []
    for name in ('configs/mine/käse.py', 'my_project/heads.py', 'clasp_mm/words.txt'):
        write(name)
    state = git_state(package)
    assert state['dirty'] and state['changed'] == [
        'clasp_mm/words.txt', 'configs/mine/käse.py', 'my_project/heads.py']
    assert describe_changes(dict(state, changed=list('abcdef'))) == (
        f'changed since commit {state["commit"][:10]}: a, b, c, d and 2 more')


def test_a_run_that_would_not_be_published_says_so_when_it_starts(
        people, tmp_path, monkeypatch):  # noqa: F811
    state = dict(commit='0123456789abcdef', dirty=True, changed=['configs/mine.py'])
    monkeypatch.setattr(run_record_hook, 'git_state', lambda: state)
    runner = train(people, tmp_path, **{'train_cfg.max_epochs': 1})
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert re.search(r'publish_model will refuse this run.*changed since commit 0123456789: '
                     r'configs/mine.py\)', log.split('Epoch(train)')[0])

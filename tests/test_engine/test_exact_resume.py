import json
import logging
import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from clasp_mm.compat import allow_mmengine_checkpoints, load_file
from clasp_mm.engine.launch import set_resume
from clasp_mm.registry import DATASETS, HOOKS
from tests.test_engine.test_teacher_hook import make_config, people  # noqa: F401
from tests.two_at_once import begin

OURS = [dict(type=f'clasp_mm.{name}') for name in (
    'ExactResumeHook', 'FiniteHook', 'AcceptedLabelsHook', 'TeacherHook', 'RawLossHook')]


@HOOKS.register_module(force=True)
class RawLossHook(Hook):
    """Losses as they are, not smoothed; ends the run where told, as a kill would."""

    priority = 'LOWEST'
    stop_at = None
    poison_at = None

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.poison_at:
            runner.model.head.last_layer.weight.data.fill_(float('nan'))
            self.teacher = [p.clone() for p in runner.model.teacher.parameters()]

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        row = (f'{runner.iter} {outputs["loss_dino"].item()!r} '
               f'{data_batch["data_samples"]["sample_idx"].tolist()}\n')
        with open(Path(runner.work_dir) / 'losses.txt', 'ab', buffering=0) as file:
            file.write(row.encode())  # at once: a kill leaves no half row
        if runner.iter + 1 == self.stop_at:
            raise KeyboardInterrupt


@HOOKS.register_module(force=True)
class SaveBehindHook(Hook):
    """Saves an epoch's checkpoint again, as MMEngine does where its validation was the best."""

    priority = 'HIGHEST'

    def before_train_epoch(self, runner):
        if runner.epoch:
            runner.save_checkpoint(runner.work_dir, f'epoch_{runner.epoch}.pth', meta=dict(
                epoch=runner.epoch, iter=runner.iter))


def make(people, work_dir, stop_at=None, interval=2, **changes):  # noqa: F811
    cfg = make_config(people, work_dir, **{
        'custom_hooks': OURS, 'model.backbone.drop_path_rate': 0.5,
        'train_dataloader.sampler.type': 'clasp_mm.ResumableSampler',
        'train_dataloader.batch_size': 2, 'train_cfg.max_epochs': 2,
        'default_hooks.checkpoint': dict(type='clasp_mm.SafeCheckpointHook', interval=interval,
                                         by_epoch=False, max_keep_ckpts=2), **changes})
    cfg.custom_hooks[-1]['stop_at'] = stop_at
    return cfg


def make_hooks(cfg):
    RawLossHook.stop_at = cfg.custom_hooks[-1].pop('stop_at')
    return cfg


def train(cfg):
    allow_mmengine_checkpoints()
    cfg.experiment_name = f'{cfg.experiment_name}_{os.urandom(4).hex()}'
    runner = Runner.from_cfg(make_hooks(cfg))
    runner.train()
    return runner


def losses(work_dir):
    """The last run's row of each iteration."""
    rows = [line.split(' ', 1) for line in (work_dir / 'losses.txt').read_text().splitlines()]
    return dict(rows)


def resume(cfg):
    set_resume(cfg, 'auto')
    return train(cfg)


@pytest.fixture(scope='module')
def whole(people, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp('whole') / 'run'
    train(make(people, folder))
    return losses(folder)


@pytest.mark.parametrize('stop_at', [1, 2, 3, 4, 5, 7])
def test_losses_after_a_resume_are_those_of_the_run_in_one_go(
        people, whole, tmp_path, stop_at):  # noqa: F811
    run = tmp_path / 'run'
    with pytest.raises(KeyboardInterrupt):
        train(make(people, run, stop_at=stop_at))
    before = len((run / 'losses.txt').read_text().splitlines())
    resume(make(people, run))
    assert losses(run) == whole and len(whole) == 8
    # RawLossHook is the last: the checkpoint of its iteration is written
    assert len((run / 'losses.txt').read_text().splitlines()) == before + 8 - stop_at // 2 * 2


def test_no_epoch_is_left_out_behind_the_best_validation(people, whole, tmp_path):  # noqa: F811
    hooks = {'custom_hooks': [dict(type='clasp_mm.SaveBehindHook'), *OURS],
             'default_hooks.checkpoint': dict(type='clasp_mm.SafeCheckpointHook', interval=1)}
    with pytest.raises(KeyboardInterrupt):
        train(make(people, tmp_path / 'run', stop_at=6, **hooks))
    assert load_file(tmp_path / 'run/epoch_1.pth')['meta']['place']['images'] == 0
    resume(make(people, tmp_path / 'run', **hooks))
    assert losses(tmp_path / 'run') == whole


def test_losses_do_not_depend_on_the_number_of_workers(people, whole, tmp_path):  # noqa: F811
    train(make(people, tmp_path / 'run', **{
        'train_dataloader.num_workers': 2, 'train_dataloader.persistent_workers': True}))
    assert losses(tmp_path / 'run') == whole


def test_half_checkpoints_are_passed_over(people, whole, tmp_path):  # noqa: F811
    run = tmp_path / 'run'
    with pytest.raises(KeyboardInterrupt):
        train(make(people, run, stop_at=5))
    newest = run / 'iter_4.pth'
    data = newest.read_bytes()
    newest.write_bytes(data[:len(data) // 2])
    cfg = make(people, run)
    set_resume(cfg, 'auto')
    assert cfg.load_from == str(run / 'iter_2.pth')
    train(cfg)
    assert losses(run) == whole
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'half.pth').write_bytes(data[:99])
    cfg = make(people, tmp_path / 'other')
    set_resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (False, None)


@pytest.fixture
def stopped(people, tmp_path):  # noqa: F811
    with pytest.raises(KeyboardInterrupt):
        train(make(people, tmp_path / 'run', stop_at=3))
    return tmp_path / 'run'


def test_resuming_says_which_settings_differ(people, stopped, caplog):  # noqa: F811
    cfg = make(people, stopped, **{'optim_wrapper.optimizer.lr': 2e-3, 'model.momentum': 0.5})
    with caplog.at_level(logging.WARNING):
        runner = resume(cfg)
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert 'optim_wrapper.optimizer.lr: 0.002, not 0.001' in log
    assert 'model.momentum: 0.5, not 0.9' in log
    assert 'train_dataloader' not in log.split('another config')[1].split('\n20')[0]


def test_resuming_with_another_model_is_an_error(people, stopped):  # noqa: F811
    cfg = make(people, stopped, **{'model.head.out_dim': 16})
    with pytest.raises(ValueError, match=r'cannot resume.*last_layer.*\(file \[12.*model \[16'
                       r'(.|\n)*model.head.out_dim: 16, not 12'):
        resume(cfg)


def test_a_start_from_other_weights_is_an_error(people, stopped, tmp_path):  # noqa: F811
    """Of another backbone, or of no tensor of the model's; another head is one's own affair, and
    bias tables are resized."""
    start = {'load_from': str(stopped / 'iter_2.pth'), 'train_cfg.max_epochs': 1}
    train(make(people, tmp_path / 'a', **start, **{'model.head.out_dim': 16}))
    train(make(people, tmp_path / 'd', **start, **{'model.backbone.window_size': 2}))
    with pytest.raises(ValueError, match=r'load_from=.*iter_2.pth has \d+ of the \d+ tensors of '
                                         r'DINO and must have all of its backbone(.|\n)*embed'):
        train(make(people, tmp_path / 'b', **start, **{
            'model.backbone.arch.embed_dims': 16, 'model.head.in_channels': 32}))
    torch.save(dict(state_dict={'fc.weight': torch.ones(2)}), tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r'has 0 of the'):
        train(make(people, tmp_path / 'c', load_from=str(tmp_path / 'other.pth')))


def rewrite(path, change):
    content = load_file(path)
    change(content)
    torch.save(content, path)


def test_what_cannot_be_resumed_from_is_named(people, stopped, tmp_path):  # noqa: F811
    path = stopped / 'iter_2.pth'
    whole_file = path.read_bytes()

    def poison(content):
        content['state_dict']['teacher.head.last_layer.weight'][0] = float('nan')

    rewrite(path, poison)
    with pytest.raises(ValueError, match=r'holds NaN .* in teacher.head.last_layer.weight'):
        resume(make(people, stopped))
    path.write_bytes(whole_file)
    rewrite(path, lambda content: content['meta'].update(
        config=f'import os; os.mkdir({str(tmp_path / "was_run")!r})'))
    resume(make(people, stopped))
    assert not (tmp_path / 'was_run').exists()
    path.write_bytes(whole_file)
    rewrite(path, lambda content: content.pop('optimizer'))
    with pytest.raises(ValueError, match=r'no checkpoint of a run, which has .*optimizer'):
        set_resume(make(people, stopped), str(path))


def test_a_loss_of_nan_stops_before_the_teacher_follows(people, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(RawLossHook, 'poison_at', 3)
    cfg = make_hooks(make(people, tmp_path / 'run'))
    allow_mmengine_checkpoints()
    runner = Runner.from_cfg(cfg)
    with pytest.raises(FloatingPointError, match=r'loss.* of iteration 4 .*'
                       r'\d \(images/0000/000000\d.jpg\), \d \(images') as error:
        runner.train()
    row = (tmp_path / 'run' / 'losses.txt').read_text().splitlines()
    assert len(row) == 3
    hook = next(hook for hook in runner.hooks if isinstance(hook, RawLossHook))
    assert all(torch.equal(before, now) for before, now in
               zip(hook.teacher, runner.model.teacher.parameters(), strict=True))
    assert sorted(path.name for path in (tmp_path / 'run').glob('*.pth')) == ['iter_2.pth']
    with pytest.raises(FloatingPointError, match='no checkpoint is written'):
        runner.save_checkpoint(str(tmp_path / 'run'), 'bad.pth')
    assert not (tmp_path / 'run' / 'bad.pth').exists()
    assert 'resume from it' in str(error.value)


def test_full_disk_leaves_the_last_checkpoint(people, tmp_path, monkeypatch):  # noqa: F811
    def full(_):
        raise OSError(28, 'No space left on device')

    with pytest.raises(KeyboardInterrupt):
        train(make(people, tmp_path / 'run', stop_at=3))
    with monkeypatch.context() as disk, \
            pytest.raises(OSError, match=r'No space left.*iter_4\.pth'):
        disk.setattr(os, 'fsync', full)
        resume(make(people, tmp_path / 'run'))
    assert [path.name for path in (tmp_path / 'run').glob('iter_*')] == ['iter_2.pth']


def test_one_checkpoint_is_not_enough():
    with pytest.raises(ValueError, match='keep at least 2'):
        HOOKS.build(dict(type='clasp_mm.SafeCheckpointHook', interval=1, max_keep_ckpts=1))


@pytest.mark.parametrize('accepted, warned', [(0., True), (.5, False)])
def test_an_epoch_without_labels_is_told(accepted, warned, caplog):
    class FakeRunner:
        epoch, logger = 2, logging.getLogger('labels')

    hook = HOOKS.build(dict(type='clasp_mm.AcceptedLabelsHook'))
    hook.before_train_epoch(FakeRunner)
    for value in (0., accepted):
        hook.after_train_iter(FakeRunner, 0, outputs=dict(accepted=torch.tensor(value)))
    hook.after_train_epoch(FakeRunner)
    assert ('no image of epoch 3 had accepted labels' in caplog.text) == warned


@DATASETS.register_module(force=True)
class DeadlyData(torch.utils.data.Dataset):
    """Its worker is killed, as by a system short of memory."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return dict(inputs=[torch.zeros(3, 32, 16, dtype=torch.uint8)] * 2,
                    data_samples=dict(sample_idx=int(index)))


def train_on_deadly_data(people, work_dir, said):  # noqa: F811
    with open(said, 'w') as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    cfg = make(people, work_dir, **{'train_dataloader.num_workers': 1})
    cfg.train_dataloader.dataset = dict(type='DeadlyData', _scope_='clasp_mm')
    train(cfg)


def test_a_worker_that_dies_ends_the_run(people, tmp_path):  # noqa: F811
    """In a process of its own: torch's signal handler may raise a second time, anywhere."""
    process = begin(train_on_deadly_data, people, tmp_path / 'run', tmp_path / 'said')
    process.join()
    assert process.exitcode not in (0, None)
    assert re.search(r'worker.*(killed by signal|exited unexpectedly)',
                     (tmp_path / 'said').read_text())


def test_draws_of_an_image_follow_seed_epoch_and_index(people, tmp_path):  # noqa: F811
    from clasp_mm.datasets.array_sampler import Visit
    cfg = make_config(people, tmp_path)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)

    def views(*visit):
        np.random.seed(np.random.randint(1000))
        return torch.cat([view.flatten() for view in dataset[Visit(*visit)]['inputs']])

    assert torch.equal(views(1, 0, 4), views(1, 0, 4))
    for other in ((2, 0, 4), (1, 1, 4), (1, 0, 5)):
        assert not torch.equal(views(1, 0, 4), views(*other))
    assert json.dumps(Visit(3, 0, 0)) == '3'

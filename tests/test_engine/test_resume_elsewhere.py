"""Resuming with another batch size or number of processes: each image once in every epoch."""

import json
import logging
import shutil
from copy import deepcopy
from itertools import chain
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS
from torch.utils.data import DataLoader

from clasp_mm.datasets import ArraySampler, IdentitySampler, ResumableSampler
from clasp_mm.engine import ExactResumeHook
from clasp_mm.engine.hooks.exact_resume_hook import _stretch
from clasp_mm.synthetic import SyntheticPeople, write_people
from tests.test_engine.test_exact_resume import OURS, losses, make, resume, train
from tests.test_engine.test_teacher_hook import read_scalars

SECOND = {2: [[0, 1], [2, 3], [4, 5], [6, 7]], 4: [[0, 1, 2, 3], [4, 5, 6, 7]],
          3: [[0, 1, 2], [3, 4, 5], [6, 7]]}  # epoch 2 of the 8 images, in their own order


@pytest.fixture(scope='module')
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp('people')
    write_people(folder, SyntheticPeople(2, 4, seed=5, size=(64, 32)), workers=1, progress=False)
    return folder


def in_order(people, work_dir, batch, stop_at=None, **changes):
    return make(people, work_dir, stop_at=stop_at, interval=1, **{
        'train_dataloader.sampler.shuffle': False, 'train_dataloader.batch_size': batch, **changes})


def images_of(run):
    return [json.loads(row.split(' ', 1)[1]) for row in losses(run).values()]


@pytest.mark.parametrize('old, stop_at, new, rest, first', [
    (2, 4, 4, [], 2),                          # at the epoch's end: 4 of 4 are 2 of 2 iterations
    (4, 2, 2, [], 4),
    (2, 2, 4, [[4, 5, 6, 7]], 1),              # 2 x 2 images seen: 1 of 2 iterations is left
    (2, 1, 4, [[2, 3, 4, 5], [6, 7]], 0),      # 1 x 2 images seen, 6 left
    (4, 1, 2, [[4, 5], [6, 7]], 2),
    (2, 1, 3, [[2, 3, 4], [5, 6, 7]], 1),      # an epoch of 3 has ceil(8 / 3) = 3 iterations
    (2, 2, 3, [[4, 5, 6], [7]], 1),
    (2, 3, 3, [[6, 7]], 2)])
def test_another_batch_size_goes_on_behind_the_images_seen(
        people, tmp_path, old, stop_at, new, rest, first):
    run = tmp_path / 'run'
    with pytest.raises(KeyboardInterrupt):
        train(in_order(people, run, old, stop_at))
    (run / 'losses.txt').unlink()
    runner = resume(in_order(people, run, new))
    expected = rest + SECOND[new]
    assert images_of(run) == expected
    assert [int(step) for step in losses(run)] == list(range(first, first + len(expected)))
    assert runner.iter == runner.max_iters == 2 * -(-8 // new)


def test_images_that_drop_last_leaves_out_end_an_epoch(people, tmp_path):
    """2 x 3 of 8 images are an epoch; 2 x 3 and then batches of 2 are not 2 x 3 + 1 x 2."""
    run, drop = tmp_path / 'run', {'train_dataloader.drop_last': True}
    with pytest.raises(KeyboardInterrupt):
        train(in_order(people, run, 3, 2, **drop))
    (run / 'losses.txt').unlink()
    resume(in_order(people, run, 2, **drop))
    assert images_of(run) == SECOND[2]


@pytest.mark.parametrize('old, new', [(2, 4), (4, 2)])
def test_the_epoch_behind_a_checkpoint_of_an_epoch_is_the_next(
        people, tmp_path, old, new):
    run = tmp_path / 'run'
    by_epoch = {'default_hooks.checkpoint.by_epoch': True}
    train(in_order(people, run, old, **by_epoch, **{'train_cfg.max_epochs': 1}))
    (run / 'losses.txt').unlink()
    resume(in_order(people, run, new, **by_epoch))
    assert images_of(run) == SECOND[new]


def test_a_checkpoint_made_inside_a_resumed_epoch_says_where(people, tmp_path):
    """2 images by 1 x 2, then 3 by 1 x 3, then the last 3 by 2 each."""
    run = tmp_path / 'run'
    for batch, stop_at in ((2, 1), (3, 2)):  # iteration 1 of 3 is [2, 3, 4]
        with pytest.raises(KeyboardInterrupt):
            train(in_order(people, run, batch, stop_at, resume=stop_at > 1,
                           load_from=str(run / 'iter_1.pth') if stop_at > 1 else None))
    (run / 'losses.txt').unlink()
    resume(in_order(people, run, 2))
    assert images_of(run) == [
        [5, 6], [7], *SECOND[2]]


@pytest.mark.parametrize('old, new', [(2, 4), (4, 2)])
def test_schedules_go_on_from_the_same_share(people, tmp_path, old, new):
    """One epoch of 4 with another batch size, then the values of a run that never had it."""
    changes = {'train_cfg.max_epochs': 4, 'param_scheduler': [
        dict(type='mmengine.LinearLR', start_factor=.1, by_epoch=True, begin=0, end=1,
             convert_to_iter_based=True),
        dict(type='mmengine.CosineAnnealingLR', T_max=3, by_epoch=True, begin=1, end=4,
             convert_to_iter_based=True),
        dict(type='mmpretrain.CosineAnnealingWeightDecay', eta_min=.4, by_epoch=True, begin=0,
             end=4, convert_to_iter_based=True)],
        'custom_hooks': [dict(type='clasp_mm.RunRecordHook'), *OURS]}
    whole = train(in_order(people, tmp_path / 'whole', new, **changes))
    with pytest.raises(KeyboardInterrupt):
        train(in_order(people, tmp_path / 'run', old, 8 // old, **changes))
    for log in (tmp_path / 'run').glob('2*/'):
        shutil.rmtree(log)
    runner = resume(in_order(people, tmp_path / 'run', new, **changes))
    rows = [[(row['iter'], row['lr'], row['teacher_momentum']) for row in read_scalars(folder)]
            for folder in (tmp_path / 'run', tmp_path / 'whole')]
    assert len(rows[0]) == 24 // new
    record = [json.loads(line) for line in open(tmp_path / 'run' / 'metrics.jsonl')]
    share = [row['step'] * new / 32 for row in record]  # the end of each iteration, old and new
    assert share == pytest.approx([old * n / 32 for n in range(1, 8 // old + 1)]
                                  + [.25 + new * n / 32 for n in range(1, 24 // new + 1)],
                                  abs=new / 64)
    decay = [it.optim_wrapper.param_groups[0]['weight_decay'] for it in (runner, whole)]
    for row, expected in zip(rows[0], rows[1][8 // new:], strict=True):
        assert row == pytest.approx(expected)
    assert decay[0] == pytest.approx(decay[1])


def test_a_schedule_by_iterations_keeps_its_count():
    """A warm-up of 5 iterations, 2 of them over, has 3 to go whatever an epoch holds."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.)
    make_scheduler = dict(type='LinearLR', optimizer=optimizer, begin=0, end=5, by_epoch=False)
    states = [PARAM_SCHEDULERS.build(make_scheduler).state_dict()]
    states[0].update(_global_step=2, last_step=2)
    _stretch(states, [PARAM_SCHEDULERS.build(make_scheduler)], old=8, new=4, iteration=1)
    assert (states[0]['_global_step'], states[0]['end']) == (2, 5)


def test_an_iteration_based_run_passes_over_once(people, tmp_path):
    def in_iterations(stop_at=None):
        cfg = in_order(people, tmp_path / 'run', 2, stop_at)
        cfg.train_cfg = dict(type='mmengine.IterBasedTrainLoop', max_iters=4)
        cfg.log_processor = dict(by_epoch=False)
        return cfg

    with pytest.raises(KeyboardInterrupt):
        train(in_iterations(stop_at=1))
    resume(in_iterations())
    assert images_of(tmp_path / 'run') == SECOND[2]


def make_loaders(kind, batch, world, monkeypatch):
    """The loaders of all processes, of 12 images, or of 6 identities with 4 images each."""
    loaders = []
    for rank in range(world):
        for module in ('mmengine.dataset.sampler', 'clasp_mm.datasets.identity_sampler'):
            monkeypatch.setattr(f'{module}.get_dist_info', lambda rank=rank: (rank, world))
        if kind is IdentitySampler:
            data = People()
            sampler = kind(data, num_identities=batch // 2, num_instances=2, seed=4)
        else:
            data = list(range(12))
            sampler = kind(data, shuffle=False, seed=4)
        loaders.append(DataLoader(data, batch, sampler=sampler, collate_fn=list))
    return loaders


class People(list):
    """6 identities with 4 images each."""

    def __init__(self):
        super().__init__(range(24))

    def get_data_info(self, index):
        return dict(gt_label=index // 4)


class Processes:
    """The hook's view of an epoch in several processes, one after the other."""

    def __init__(self, kind, batch, world, monkeypatch):
        self.loaders = make_loaders(kind, batch, world, monkeypatch)
        monkeypatch.setattr('clasp_mm.engine.hooks.exact_resume_hook.get_world_size',
                            lambda: world)
        self.hooks = [ExactResumeHook() for _ in range(world)]
        self.runners = [SimpleNamespace(
            iter=0, epoch=0, train_dataloader=loader, train_loop=None, model=torch.nn.Identity(),
            param_schedulers=None, cfg=Config(dict(epoch=0)), _resume=True,
            logger=logging.getLogger('resume')) for loader in self.loaders]

    def resume(self, checkpoint):
        for hook, runner in zip(self.hooks, self.runners, strict=True):
            its = deepcopy(checkpoint)
            hook.after_load_checkpoint(runner, its)
            runner.iter, runner.epoch = its['meta']['iter'], its['meta']['epoch']

    def epoch(self, stop=None):
        """What each process sees of an epoch, batch by batch, and the checkpoint behind it."""
        seen = []
        for hook, runner in zip(self.hooks, self.runners, strict=True):
            hook.before_train_epoch(runner)
            seen.append([[int(index) for index in batch]
                         for batch in runner.train_dataloader][:stop])
        hook, runner = self.hooks[0], self.runners[0]
        checkpoint = dict(state_dict={}, meta=dict(
            epoch=runner.epoch, iter=runner.iter + len(seen[0])))
        hook.before_save_checkpoint(runner, checkpoint)
        for runner in self.runners:
            runner.iter, runner.epoch = checkpoint['meta']['iter'], runner.epoch + 1
        return seen, checkpoint


@pytest.mark.parametrize('kind', [ArraySampler, ResumableSampler])
@pytest.mark.parametrize('old, stop, new, rest', [
    # 1 x 2 of [0, 1], [2, 3] seen; 8 left for 2 processes, every second image each
    ((2, 1), 2, (2, 2), [[[4, 6], [8, 10]], [[5, 7], [9, 11]]]),
    # 2 x 2: [0, 2] and [1, 3] seen
    ((2, 2), 1, (2, 1), [[[4, 5], [6, 7], [8, 9], [10, 11]]]),
    # 1 x 2 seen, 10 left for 3 processes: 4 each, the last two from the beginning again
    ((2, 1), 1, (4, 3), [[[2, 5, 8, 11]], [[3, 6, 9, 0]], [[4, 7, 10, 1]]]),
    # all seen
    ((2, 1), 6, (2, 2), [[], []]),
    ((2, 3), 2, (4, 1), [[]])])
def test_another_number_of_processes(monkeypatch, kind, old, stop, new, rest):
    _, checkpoint = Processes(kind, *old, monkeypatch).epoch(stop)
    after = Processes(kind, *new, monkeypatch)
    after.resume(checkpoint)
    assert after.epoch()[0] == rest
    following, _ = after.epoch()
    assert following == Processes(kind, *new, monkeypatch).epoch()[0]  # from image 0
    length = len(after.loaders[0])
    assert [runner.iter for runner in after.runners] == [2 * length] * new[1]


@pytest.mark.parametrize('old, stop, new', [(1, 2, 2), (2, 1, 1), (1, 1, 3), (1, 6, 2), (2, 3, 1)])
def test_batches_of_identities_are_shared_out_anew(monkeypatch, old, stop, new):
    """6 identities x 2 groups of 2: 6 batches of 2 x 2, each of which comes once."""
    (whole, ), _ = Processes(IdentitySampler, 4, 1, monkeypatch).epoch()
    assert len(whole) == 6 and sorted(chain(*whole)) == list(range(24))
    seen, checkpoint = Processes(IdentitySampler, 4, old, monkeypatch).epoch(stop)
    after = Processes(IdentitySampler, 4, new, monkeypatch)
    after.resume(checkpoint)
    rest, _ = after.epoch()
    left = (6 - stop * old) // new
    assert rest == [whole[stop * old + rank::new][:left] for rank in range(new)]
    assert seen == [whole[rank::old][:stop] for rank in range(old)]


def test_a_checkpoint_that_does_not_say_how_far_it_was_is_told(monkeypatch, caplog):
    _, checkpoint = Processes(ResumableSampler, 2, 1, monkeypatch).epoch(2)
    del checkpoint['meta']['place']
    after = Processes(ResumableSampler, 4, 1, monkeypatch)
    after.resume(checkpoint)
    assert 'epoch 1 starts anew' in caplog.text and after.runners[0].iter == 0
    assert after.epoch()[0] == [[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]]

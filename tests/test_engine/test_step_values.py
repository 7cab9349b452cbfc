"""The host waits for the device on logging steps only, and nothing that it tells is lost."""

from collections import defaultdict

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.overrides import TorchFunctionMode

from benchmarks.launches import Counter
from clasp_mm.compat import allow_mmengine_checkpoints
from clasp_mm.models.pretrain.teacher import Teacher
from tests.test_engine.test_teacher_hook import make_config, people  # noqa: F401

HOOKS_OF_A_RUN = [dict(type=f'clasp_mm.{name}') for name in (
    'ExactResumeHook', 'FiniteHook', 'AcceptedLabelsHook', 'TeacherHook', 'SkippedImagesHook',
    'RunRecordHook')]
READS = defaultdict(int)  # iteration -> waits


class _Reads(TorchFunctionMode):
    """Lists made of values of the network; on the CPU these pass under the dispatcher."""

    number = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.number += (getattr(function, '__name__', '') in ('tolist', 'numpy')
                        and args[0].is_floating_point())
        return function(*args, **(kwargs or {}))


@HOOKS.register_module(force=True)
class CountWaitsStart(Hook):
    """Counts what makes the host wait in a step and the hooks after it."""

    priority = 'HIGHEST'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        runner.modes = Counter(), _Reads()
        for mode in runner.modes:
            mode.__enter__()


@HOOKS.register_module(force=True)
class CountWaitsEnd(Hook):

    priority = 'LOWEST'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        for mode in reversed(runner.modes):
            mode.__exit__(None, None, None)
        counter, reads = runner.modes
        READS[runner.iter] = counter.waits.total() + reads.number


@HOOKS.register_module(force=True)
class PoisonOneGradient(Hook):
    """The gradient of one weight is NaN in one iteration, where every loss is finite."""

    priority = 'HIGHEST'
    at = 1

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.at:
            runner.model.teacher_before = [p.clone() for p in runner.model.teacher.parameters()]
            runner.expected = data_batch['data_samples']['sample_idx'].tolist()
            weight = next(runner.model.backbone.parameters())
            handle = weight.register_hook(lambda grad: handle.remove() or grad * float('nan'))


def run(people, folder, interval, reader=True, hooks=(), **changes):  # noqa: F811
    allow_mmengine_checkpoints()
    default = dict(logger=dict(type='mmengine.LoggerHook', interval=interval))
    if reader:
        default['runtime_info'] = dict(type='clasp_mm.StepValuesHook')
    return Runner.from_cfg(make_config(people, folder, default_hooks=default, **{
        'train_dataloader.batch_size': 1, 'train_cfg.max_epochs': 2,
        'custom_hooks': [*HOOKS_OF_A_RUN, *hooks], **changes}))


def test_the_history_is_mmengines(people, tmp_path):  # noqa: F811
    """All values of all steps, exactly, whatever the interval; 16 steps, 8 an epoch."""
    histories = {}
    for name, reader in (('ours', True), ('theirs', False)):
        runner = run(people, tmp_path / name, 3, reader)
        runner.train()
        histories[name] = runner.message_hub.log_scalars
    assert set(histories['ours']) == set(histories['theirs'])
    for name in ('train/loss', 'train/loss_dino', 'train/lr'):
        ours, theirs = (histories[side][name].data for side in ('ours', 'theirs'))
        assert len(ours[0]) == 16
        assert np.array_equal(ours, theirs), name
        assert histories['ours'][name].mean(10) == histories['theirs'][name].mean(10)


def test_the_host_waits_on_logging_steps_only(people, tmp_path):  # noqa: F811
    READS.clear()
    run(people, tmp_path / 'run', 3,
        hooks=[dict(type='CountWaitsStart'), dict(type='CountWaitsEnd')]).train()
    # Steps 3 and 6 of an epoch are logged, step 8 ends it; the first makes the optimizer's state.
    logged = {2, 5, 7, 10, 13, 15}
    assert {step: READS[step] for step in range(1, 16)} == {
        step: int(step in logged) for step in range(1, 16)}


@pytest.mark.parametrize('interval', [1, 3, 50])
def test_a_broken_step_is_named_later_and_the_teacher_stays(
        people, tmp_path, interval):  # noqa: F811
    runner = run(people, tmp_path / 'run', interval, hooks=[dict(type='PoisonOneGradient')])
    with pytest.raises(FloatingPointError, match=r'^backbone\.\S+ of iteration 2 is not finite '
                       r'\(a weight by its gradient\).*this batch: \d+ \(images/') as error:
        runner.train()
    assert f'this batch: {runner.expected[0]} (' in str(error.value)
    assert str(error.value).count('images/') == 1
    assert runner.iter + 1 == {1: 2, 3: 3, 50: 8}[interval]
    assert all(map(torch.equal, runner.model.teacher_before, runner.model.teacher.parameters()))
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_it_is_named_before_a_checkpoint(people, tmp_path):  # noqa: F811
    runner = run(people, tmp_path / 'run', 50, hooks=[dict(type='PoisonOneGradient')])
    runner = run(people, tmp_path / 'other', 50, hooks=[dict(type='PoisonOneGradient')],
                 **{'default_hooks.checkpoint': dict(
                     type='clasp_mm.SafeCheckpointHook', interval=2, by_epoch=False,
                     max_keep_ckpts=2)})
    with pytest.raises(FloatingPointError, match='of iteration 2 is not finite'):
        runner.train()
    assert runner.iter + 1 == 2 and not list((tmp_path / 'other').glob('*.pth'))


def test_the_teacher_by_hand():
    """t + (1 - m) (s - t) with m = .75: 1 + .25 (5 - 1) = 2; where the flag is set, nothing."""
    student = torch.nn.ModuleList([torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)])
    teacher = Teacher(*student)
    for module, value in ((teacher, 1.), (student, 5.)):
        for parameter in module.parameters():
            parameter.data.fill_(value)
    teacher.update(*student, .75, torch.zeros(()))
    assert all(p.item() == 2 for p in teacher.parameters())
    teacher.update(*student, .75)
    assert all(p.item() == 2.75 for p in teacher.parameters())  # 2 + .25 (5 - 2)
    student[0].weight.data.fill_(float('nan'))
    teacher.update(*student, .75, torch.ones(()))
    assert all(p.item() == 2.75 for p in teacher.parameters())
    student[0].weight.data.fill_(7.)
    teacher.update(*student, 0.)
    assert teacher.backbone.weight.item() == 7


def test_the_teacher_follows_where_the_model_goes():
    """Other tensors, in the same modules and in other ones."""
    student = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)])
    model = torch.nn.ModuleDict(dict(student=student, teacher=Teacher(*student)))
    model['teacher'].update(*student, .5)
    for place in (lambda: model.double(), lambda: model.to(torch.float32)):
        place()
        for value in (*student.parameters(), student[1].running_mean):
            value.data.fill_(3.)
        model['teacher'].update(*student, 0.)
        assert all((p == 3).all() for p in model['teacher'].parameters())
        assert (model['teacher'].head.running_mean == 3).all()
    other = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)])
    model['teacher'].update(*other, 0.)
    assert torch.equal(model['teacher'].backbone.weight, other[0].weight)

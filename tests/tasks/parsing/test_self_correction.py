"""The cycles on a model of a few numbers; mmsegmentation is not needed."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from mmengine.runner import Runner
from torch import nn

from clasp_mm.compat import allow_mmengine_checkpoints, load_file
from clasp_mm.engine import SelfCorrectionHook
from clasp_mm.engine.launch import leave_together, set_resume
from tests.oracles.parsing_losses import moving_average
from tests.two_at_once import spread


@MODELS.register_module(force=True)
class ToyParser(BaseModel):
    """Learns a line; corrected labels are the averaged model's, so that a resume must find it."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.line = nn.Linear(3, 1)
        self.corrections = []
        self.labeller = None

    def correct_labels(self, averaged, cycle):
        self.corrections.append(cycle)
        self.labeller = (averaged, cycle)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        out = self.line(self.norm(inputs))[:, 0]
        if mode == 'tensor':
            return out
        if mode == 'predict':
            return [self.line.weight.detach().clone()]
        target = data_samples
        if self.labeller:
            averaged, cycle = self.labeller
            assert averaged.training  # as published
            with torch.no_grad():
                target = (target + cycle * averaged(inputs)) / (cycle + 1)
        return dict(loss=(out - target).square().mean())


@DATASETS.register_module(force=True)
class ToyPoints(torch.utils.data.Dataset):

    def __len__(self):
        return 12

    def __getitem__(self, index):
        x = torch.randn(3, generator=torch.Generator().manual_seed(index)) * 3 + 1
        return dict(inputs=x, data_samples=x.sum())


@METRICS.register_module(force=True)
class ToyWeights(BaseMetric):
    """What was validated."""

    seen = []

    def process(self, data_batch, data_samples):
        self.results.append(0)
        self.seen.append(data_samples[0])

    def compute_metrics(self, results):
        return {}


@HOOKS.register_module(force=True)
class ToyRecorder(Hook):
    """The model as it was trained, after every epoch; ends the run where told."""

    priority = 'HIGHEST'
    states, models, stop_at = [], [], None

    def before_train(self, runner):
        self.models.append(runner.model)

    def after_train_epoch(self, runner):
        self.states.append(copy.deepcopy(runner.model.state_dict()))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.stop_at:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def fresh():
    ToyWeights.seen, ToyRecorder.states, ToyRecorder.models = [], [], []
    ToyRecorder.stop_at = None
    allow_mmengine_checkpoints()


def config(work_dir, epochs=7, **hook):
    loader = dict(batch_size=4, num_workers=0, collate_fn=dict(type='default_collate'),
                  dataset=dict(type='ToyPoints'))
    return Config(dict(
        default_scope='mmengine', work_dir=str(work_dir), experiment_name='toy', log_level='ERROR',
        model=dict(type='ToyParser'), randomness=dict(seed=0),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        train_dataloader=dict(loader, sampler=dict(type='DefaultSampler', shuffle=True)),
        val_dataloader=dict(loader, batch_size=12, sampler=dict(type='DefaultSampler')),
        val_cfg=dict(), val_evaluator=dict(type='ToyWeights'),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=.05, momentum=.9)),
        default_hooks=dict(checkpoint=dict(type='clasp_mm.SafeCheckpointHook', interval=1,
                                           max_keep_ckpts=20)),
        custom_hooks=[dict(type='ToyRecorder'), dict(type='clasp_mm.ExactResumeHook'),
                      dict(type='clasp_mm.SelfCorrectionHook', **{
                          'start': 3, 'interval': 2, **hook})]))


def test_averages_labels_and_what_is_validated_and_saved(tmp_path):
    Runner.from_cfg(config(tmp_path)).train()
    states = [state['line.weight'].double() for state in ToyRecorder.states]
    assert ToyRecorder.models[0].corrections == [1, 2, 3]
    cycles = {3: states[2:3], 5: [states[2], states[4]], 7: [states[2], states[4], states[6]]}
    for epoch in range(1, 8):
        saved = load_file(tmp_path / f'epoch_{epoch}.pth')
        ends = [end for end in cycles if end <= epoch]
        expected = moving_average(cycles[ends[-1]]) if ends else states[epoch - 1]
        torch.testing.assert_close(saved['state_dict']['line.weight'].double(), expected)
        torch.testing.assert_close(ToyWeights.seen[epoch - 1].double(), expected)
        assert ('ema_state_dict' in saved) == bool(ends)
        if ends:
            torch.testing.assert_close(
                saved['ema_state_dict']['module.line.weight'].double(), states[epoch - 1])
    assert not torch.allclose(expected, states[-1], rtol=1e-3)


def test_batch_norms_hold_the_means_over_the_training_set(tmp_path):
    runner = Runner.from_cfg(config(tmp_path))
    runner.train()
    means, variances = [], []
    for batch in runner.train_dataloader:  # in the order of the last epoch
        columns = batch['inputs'].T.tolist()
        means.append([sum(column) / 4 for column in columns])
        variances.append([sum((value - mean)**2 for value in column) / 3
                          for column, mean in zip(columns, means[-1], strict=True)])
    state = load_file(tmp_path / 'epoch_7.pth')['state_dict']
    for name, rows in (('running_mean', means), ('running_var', variances)):
        expected = [sum(column) / 3 for column in zip(*rows, strict=True)]
        assert state[f'norm.{name}'].tolist() == pytest.approx(expected, rel=1e-5)
    assert ToyRecorder.models[0].norm.momentum == .1


def test_labelling_in_training_mode_moves_no_statistics(tmp_path):
    """Epoch 6 labels with the average of epoch 5, whose norms stay those estimated."""
    Runner.from_cfg(config(tmp_path)).train()
    fifth, sixth = (load_file(tmp_path / f'epoch_{epoch}.pth')['state_dict'] for epoch in (5, 6))
    for name in ('norm.running_mean', 'norm.running_var', 'line.weight'):
        assert torch.equal(fifth[name], sixth[name])


@pytest.mark.parametrize('iteration', [5, 11, 13, 20])  # before, in, between and at cycles
def test_killed_in_a_cycle_it_goes_on_the_same(tmp_path, iteration):
    Runner.from_cfg(config(tmp_path / 'whole')).train()
    ToyRecorder.stop_at = iteration
    with pytest.raises(KeyboardInterrupt):
        Runner.from_cfg(config(tmp_path / 'parts')).train()
    ToyRecorder.stop_at = None
    cfg = config(tmp_path / 'parts')
    set_resume(cfg, 'auto')
    Runner.from_cfg(cfg).train()
    whole, parts = (load_file(tmp_path / name / 'epoch_7.pth') for name in ('whole', 'parts'))
    for key in ('state_dict', 'ema_state_dict'):
        assert all(torch.equal(value, parts[key][name]) for name, value in whole[key].items())


def _norms(rank, world_size, out):
    if world_size > 1:
        torch.set_num_threads(1)
        dist.init_process_group('gloo', init_method=f'file://{out}/meet', rank=rank,
                                world_size=world_size)
    torch.manual_seed(0)
    batches = [dict(inputs=torch.randn(5, 3) * step, data_samples=torch.zeros(5))
               for step in range(1, 7)]
    hook, model = SelfCorrectionHook(1, 1), ToyParser()
    hook.ema_model = SimpleNamespace(module=model)
    hook._estimate_norms(SimpleNamespace(train_dataloader=batches[rank::world_size]))
    torch.save(model.state_dict(), f'{out}/{rank}_of_{world_size}.pt')
    leave_together()


@pytest.mark.slow
def test_processes_agree_on_the_norms_of_all_batches(tmp_path):
    _norms(0, 1, str(tmp_path))
    spread(_norms, 2, str(tmp_path), count=2)
    one, first, second = (torch.load(tmp_path / f'{rank}_of_{world}.pt', weights_only=True)
                          for rank, world in ((0, 1), (0, 2), (1, 2)))
    for name in ('norm.running_mean', 'norm.running_var'):
        torch.testing.assert_close(first[name], one[name])
        assert torch.equal(first[name], second[name])


@pytest.mark.parametrize('hook, error, words', [
    (dict(start=0), ValueError, 'start=0'), (dict(interval=0), ValueError, 'interval=0'),
    (dict(start=9), ValueError, 'after the last epoch, 7')])
def test_wrong_settings(tmp_path, hook, error, words):
    with pytest.raises(error, match=words):
        Runner.from_cfg(config(tmp_path, **hook)).train()


def test_a_model_without_corrected_labels_is_refused(tmp_path, monkeypatch):
    monkeypatch.delattr(ToyParser, 'correct_labels')
    with pytest.raises(TypeError, match=r'drives clasp_mm\.SelfCorrectingParser.*ToyParser'):
        Runner.from_cfg(config(tmp_path)).train()

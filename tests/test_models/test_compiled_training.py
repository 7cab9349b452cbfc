"""Compiled training computes what training does: steps, several processes, and tools/train.py."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from clasp_mm.compat import load_file
from clasp_mm.models.compiling import Compilation, compile_backbones
from tests.source_tree import ROOT
from tests.test_engine.test_exact_resume import losses, make
from tests.test_engine.test_teacher_hook import people  # noqa: F401
from tests.test_models.test_compiling import training_step
from tests.two_at_once import spread


def three_steps(name: str, compiled: bool,
                amp: bool = False) -> tuple[list[float], list[torch.Tensor]]:
    """Losses of three steps, and the weights after them."""
    torch.manual_seed(0)
    step = training_step(name)
    step.amp = amp
    if compiled:
        step.compile()
    torch.manual_seed(1)
    losses = []
    for _ in range(3):
        loss = step.loss()
        losses.append(loss.item())
        step.optimizer.update_params(loss)
        step.model.update_teacher()
    return losses, list(step.model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize('name', ['dino', 'clasp'])
def test_three_steps_equal_eager(name):
    with torch._inductor.config.patch(fallback_random=True):  # eager's draws
        (losses, weights), (same_losses, same_weights) = (
            three_steps(name, compiled) for compiled in (False, True))
    assert same_losses == pytest.approx(losses, rel=1e-4)
    assert losses[0] != pytest.approx(losses[2], rel=1e-3)
    for plain, compiled in zip(weights, same_weights, strict=True):
        torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(torch._inductor.config, 'emulate_precision_casts'),
                    reason='needs an inductor that can round where eager does')
@pytest.mark.parametrize('name', ['dino', 'clasp'])
def test_three_steps_equal_eager_in_bfloat16(name):
    torch._dynamo.reset()
    counters.clear()
    full, half = (three_steps(name, False, amp)[0] for amp in (False, True))
    # Without the second setting fused code rounds less often, and is 1.5 % away in DINO.
    with torch._inductor.config.patch(fallback_random=True, emulate_precision_casts=True):
        same, _ = three_steps(name, True, amp=True)
    assert same == pytest.approx(half, rel=1e-3)
    assert half[0] != pytest.approx(full[0], rel=1e-3)
    assert not counters['graph_break']
    assert counters['stats']['unique_graphs'] == 3


def train_rank(rank: int, world_size: int, out: str, compiled: bool) -> None:
    """Three steps of CLASP's on a process's own images; leaves losses and weights."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', init_method=f'file://{out}/meet{compiled}',
                                         rank=rank, world_size=world_size)
    torch.manual_seed(0)
    step = training_step('clasp', with_cp=True)
    for part in step.model.modules():
        part.training = False  # no draws
    step.model.backbone.training = True  # what is not in evaluation is compiled
    step.model.set_progress(0, 1, 1)
    if compiled:
        compile_backbones(step.model, Compilation(dynamic=False, backend='aot_eager'))

    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = step.model

        def forward(self) -> torch.Tensor:
            return self.model.parse_losses(self.model.loss(step.views, step.samples))[0]

    # Buckets of a few parameters each, as a large model has.
    model = nn.parallel.DistributedDataParallel(
        Loss(), find_unused_parameters=True, broadcast_buffers=False, bucket_cap_mb=.002)
    step.views = [view + rank for view in step.views]
    losses = []
    for _ in range(3):
        loss = model()
        losses.append(loss.item())
        step.optimizer.update_params(loss)
        step.model.update_teacher()
    assert not counters['graph_break']
    assert counters['stats']['unique_graphs'] == 3 * compiled
    torch.save((losses, dict(step.model.named_parameters())), f'{out}/{compiled}{rank}.pth')
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_compiled_steps_of_two_processes(tmp_path):
    for compiled in (False, True):
        spread(train_rank, 2, str(tmp_path), compiled, count=2)
    for rank in range(2):
        (plain, weights), (losses, others) = (
            torch.load(tmp_path / f'{compiled}{rank}.pth', weights_only=False)
            for compiled in (False, True))
        assert losses == pytest.approx(plain, rel=1e-4)
        for name, weight in weights.items():
            torch.testing.assert_close(others[name], weight, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_compiled_and_plain_runs_are_one(people, tmp_path):  # noqa: F811
    cfg = make(people, 'unused', **{'model.backbone.drop_path_rate': 0.,
                                    'default_hooks.checkpoint.interval': 4})
    for name in ('work_dir', 'experiment_name'):
        cfg.pop(name)
    cfg.custom_hooks[-1].pop('stop_at')
    cfg.custom_imports = dict(imports=['tests.test_engine.test_exact_resume'])
    cfg.dump(tmp_path / 'config.py')
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1',
           'TORCHINDUCTOR_CACHE_DIR': str(tmp_path / 'cache')}

    def train(name: str, *options: str) -> str:
        done = subprocess.run(
            [sys.executable, ROOT / 'tools/train.py', tmp_path / 'config.py', '--work-dir',
             tmp_path / name, *options], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout + done.stderr

    half = ('--cfg-options', 'train_cfg.max_epochs=1')
    train('plain', *half)
    train('plain', '--resume')
    assert 'are compiled' in train('first', '--compile', *half)
    assert 'are compiled' not in train('first', '--resume')
    train('last', *half)
    assert 'are compiled' in train('last', '--compile', '--resume')

    expected = losses(tmp_path / 'plain')
    weights = load_file(tmp_path / 'plain/iter_8.pth')['state_dict']
    for name in ('first', 'last'):
        rows = losses(tmp_path / name)
        assert list(rows) == list(expected) and len(rows) == 8
        for iteration, row in rows.items():
            loss, images = row.split(' ', 1)
            assert images == expected[iteration].split(' ', 1)[1]
            assert float(loss) == pytest.approx(float(expected[iteration].split()[0]), rel=1e-4,
                                                abs=1e-5)
        other = load_file(tmp_path / name / 'iter_8.pth')['state_dict']
        assert list(other) == list(weights)
        for key, weight in weights.items():
            torch.testing.assert_close(other[key], weight, rtol=1e-3, atol=1e-4)

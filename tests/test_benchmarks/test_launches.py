"""How much a GPU is asked to start in a training step: counted, with bounds."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.launches import BOUNDS, Counter, count_collectives, count_step
from benchmarks.step import step_config
from tests.two_at_once import spread


def test_the_counter_by_hand():
    x = torch.empty(2, 2, 49, 8, device='meta', requires_grad=True)
    with Counter() as counter:
        y = (x * 2).transpose(0, 1) + 1  # two operators and a view
        y = y @ y.transpose(-1, -2)  # bmm between views and copies that make it one batch
        y.sum().backward()
    assert counter.operators['mul'] == 2 and counter.operators['bmm'] == 3
    assert not {'transpose', 'view', 'expand', 'empty'} & set(counter.operators)
    assert not counter.waits
    bias = torch.empty(1, 2, 49, 49, device='meta')
    with Counter() as counter:
        scaled_dot_product_attention(x, x, x, attn_mask=bias).sum().backward()
    assert counter.operators['_scaled_dot_product_efficient_attention'] == 1
    assert counter.operators['_scaled_dot_product_efficient_attention_backward'] == 1


@pytest.mark.parametrize('wait', [
    lambda x: x.sum().item(), lambda x: float(x.mean()), lambda x: bool(x.isnan().any()),
    lambda x: x.new_tensor([1., 2.]), lambda x: torch.tensor([1.], device=x.device),
    lambda x: x[[0, 1]], lambda x: x[torch.tensor([1])], lambda x: x.copy_(torch.zeros(3)),
    lambda x: torch.zeros(3).to(x.device)])
def test_what_makes_the_host_wait(wait):
    x = torch.empty(3, device='meta')
    with Counter() as counter:
        wait(x)
    assert counter.waits.total() == 1
    with Counter() as counter:
        torch.zeros(3).to(x.device, non_blocking=True)
        torch.zeros(3).to(torch.float64)
        torch.where(x > 0, x, 1.)
    assert not counter.waits


@pytest.mark.parametrize('batch', [8, 96])
def test_operators_and_waits_of_a_step(batch):
    counters = {name: count_step(step_config(name), batch) for name in ('dino', 'clasp')}
    update = ('_fused_adamw_', '_foreach_norm', '_foreach_mul_', '_foreach_lerp_', '_foreach_copy_')
    for name, counter in counters.items():
        assert counter.operators.total() <= BOUNDS[name]
        assert not counter.waits
        # DINO's teacher has no buffers to copy.
        assert [counter.operators[one] for one in update] == [2, 1, 1, 1, name == 'clasp']
    ours, theirs = (counters[name].operators.total() for name in ('clasp', 'dino'))
    assert ours <= 1.5 * theirs


def test_collectives_of_two_processes(monkeypatch):
    monkeypatch.setattr(torch.multiprocessing, 'spawn',
                        lambda job, args, nprocs: spread(job, *args, count=nprocs))
    counts = count_collectives('clasp')
    assert set(counts) == {'allreduce_'} and counts['allreduce_'] <= 2

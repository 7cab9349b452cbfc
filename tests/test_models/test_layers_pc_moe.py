"""PC-MoE against its formulas, and its invariants."""

import pytest
import torch
import torch.nn.functional as F

from benchmarks.launches import Counter
from clasp_mm.models.layers import TASKS, PCMoE, task_weights
from tests.oracles.pc_moe import pc_moe, smooth_load

DIM, HIDDEN = 8, 4
# Below and above HIDDEN, where the second product changes its form, and above K * HIDDEN, where
# only the chosen experts are computed.
SHORT, LONG, LARGE = LENGTHS = 3, 6, 26


def make(num_experts: int, top_k: int, seed: int = 0, **kwargs) -> PCMoE:
    torch.manual_seed(seed)
    moe = PCMoE(DIM, num_experts, top_k, expert_hidden=HIDDEN, gate_reduction=4, **kwargs)
    for param in moe.parameters():
        torch.nn.init.normal_(param, std=.5)
    return moe


def inputs(length: int, batch: int = 3, num_prompts: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(7)
    return (torch.randn(batch, length, DIM, requires_grad=True),
            torch.rand(batch, num_prompts, requires_grad=True))


def assert_equals_oracle(moe: PCMoE, length: int, shared_prompt: bool = False) -> None:
    """Outputs, gates and all gradients of the module and of the oracle are equal."""
    x, weights = inputs(length, num_prompts=moe.num_prompts)
    if shared_prompt:
        weights = weights[:1].detach().requires_grad_()
    torch.manual_seed(3)
    out, gates = moe(x, weights)
    torch.manual_seed(3)
    noise = torch.randn(len(x), moe.num_experts) if moe.training else None
    ref_out, ref_probs, ref_gates = pc_moe(
        dict(moe.named_parameters()), x, weights.expand(len(x), -1), moe.top_k, noise,
        moe.self_embedding, moe.prompt_embedding)
    torch.testing.assert_close(out, ref_out, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gates.probs, ref_probs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gates.gates, ref_gates, rtol=1e-5, atol=1e-6)

    wanted = {'x': x, **dict(moe.named_parameters())}
    if moe.prompts is not None:
        wanted['prompt weights'] = weights
    cotangent = torch.randn(out.shape)
    balance = torch.randn(gates.probs.shape)

    def gradients(out, probs):
        total = (out * cotangent).sum() + (probs * balance).sum()
        return torch.autograd.grad(total, list(wanted.values()), allow_unused=True)

    uses_probs = gates.probs.requires_grad
    for name, grad, ref in zip(wanted, gradients(out, gates.probs if uses_probs else balance),
                               gradients(ref_out, ref_probs if uses_probs else balance),
                               strict=True):
        if grad is None and ref is None:
            assert name.startswith('noise_gate')
            continue
        ref = torch.zeros_like(grad) if ref is None else ref
        torch.testing.assert_close(grad, ref, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize('length', LENGTHS)
@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize(('num_experts', 'top_k'), [(1, 1), (2, 1), (3, 3), (6, 3), (10, 6)])
def test_equals_the_formulas(num_experts, top_k, training, length):
    assert_equals_oracle(make(num_experts, top_k).train(training), length)


@pytest.mark.parametrize('length', LENGTHS)
@pytest.mark.parametrize('switches', [
    dict(self_embedding=False), dict(prompt_embedding=False), dict(channel_gate=False),
    dict(global_gate=False), dict(prompt_residual=False), dict(task_gates=True),
    dict(prompt_embedding=False, prompt_residual=False), dict(num_prompts=6)
])
def test_switches_equal_the_formulas(switches, length):
    assert_equals_oracle(make(4, 2, **switches).train(), length)


@pytest.mark.parametrize('length', LENGTHS)
def test_one_prompt_for_the_whole_batch(length):
    assert_equals_oracle(make(4, 2), length, shared_prompt=True)


@pytest.mark.parametrize('length', [SHORT, LONG])
@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('shared_prompt', [False, True])
def test_many_images_in_parts_equal_the_formulas(monkeypatch, shared_prompt, training, length):
    moe = make(10, 6).train(training)
    two_images = 2 * 4 * moe.w2.numel()
    monkeypatch.setattr('clasp_mm.models.layers.pc_moe._PART_BYTES', two_images)
    parts = []
    all_experts = moe._all_experts
    monkeypatch.setattr(moe, '_all_experts', lambda x, *args: (
        parts.append(len(x)), all_experts(x, *args))[1])
    assert_equals_oracle(moe, length, shared_prompt)
    assert parts[:2] == [2, 1]


@pytest.mark.parametrize('switch', [
    'self_embedding', 'prompt_embedding', 'channel_gate', 'global_gate', 'prompt_residual'
])
def test_every_switch_changes_the_output(switch):
    full = make(4, 2).eval()
    reduced = make(4, 2, **{switch: False}).eval()
    reduced.load_state_dict(full.state_dict(), strict=False)
    x, weights = inputs(LONG)
    assert (full(x, weights)[0] - reduced(x, weights)[0]).abs().max() > 1e-2


def test_new_module_is_the_identity():
    x, weights = inputs(LONG)
    for training in (False, True):
        moe = PCMoE(DIM).train(training)
        assert torch.equal(moe(x, weights)[0], x)
        with torch.autocast('cpu', torch.bfloat16):
            assert torch.equal(moe(x, weights)[0], x)


@pytest.mark.parametrize('length', LENGTHS)
def test_image_does_not_depend_on_its_batch(length):
    moe = make(6, 3).eval()
    x, weights = inputs(length, batch=5)
    out, gates = moe(x, weights)
    for i in range(5):
        alone, alone_gates = moe(x[i:i + 1], weights[i:i + 1])
        torch.testing.assert_close(alone[0], out[i], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(alone_gates.gates[0], gates.gates[i])


def test_permuting_the_experts_changes_nothing():
    moe, permuted = make(5, 3).eval(), make(5, 3).eval()
    order = torch.tensor([3, 0, 4, 2, 1])
    with torch.no_grad():
        for name, param in permuted.named_parameters():
            if name not in ('prompts', 'channel_gate.0.weight') and 'prompt_fc' not in name:
                rows = param.view(5, -1)
                rows.copy_(rows[order].clone())
    x, weights = inputs(LONG)
    out, gates = moe(x, weights)
    permuted_out, permuted_gates = permuted(x, weights)
    torch.testing.assert_close(permuted_out, out, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(permuted_gates.gates, gates.gates[:, order])


def test_identical_experts_ignore_the_global_gate():
    moe = make(4, 2, channel_gate=False).eval()
    with torch.no_grad():
        for name in ('w1', 'b1', 'w2', 'b2'):
            rows = getattr(moe, name).view(4, -1)
            rows.copy_(rows[:1].expand_as(rows).clone())
    x, weights = inputs(LONG)
    out = moe(x, weights)[0]
    torch.nn.init.normal_(moe.global_gate.weight)
    torch.testing.assert_close(moe(x, weights)[0], out, rtol=1e-5, atol=1e-5)


def test_noise_only_in_training():
    moe = make(6, 3)
    x, weights = inputs(LONG)
    first, second = (moe(x, weights)[1].probs for _ in range(2))
    assert not torch.allclose(first, second)
    moe.eval()
    first, second = (moe(x, weights)[1].probs for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(('num_experts', 'top_k'), [(2, 1), (6, 3), (10, 6)])
def test_the_load_is_the_chance_of_each_expert_to_be_chosen(num_experts, top_k):
    moe = make(num_experts, top_k).train()
    x, weights = inputs(LONG)
    torch.manual_seed(3)
    gates = moe(x, weights)[1]
    torch.manual_seed(3)
    noise = torch.randn(len(x), num_experts)
    z = x.mean(1) + weights @ moe.prompts
    clean, std = z @ moe.global_gate.weight.T, F.softplus(z @ moe.noise_gate.weight.T)
    expected = smooth_load(clean, std, noise, top_k)
    torch.testing.assert_close(gates.load, expected, rtol=1e-4, atol=1e-5)
    wanted = [moe.global_gate.weight, moe.noise_gate.weight, moe.prompts]
    cotangent = torch.randn(expected.shape)
    for grad, ref in zip(torch.autograd.grad((gates.load * cotangent).sum(), wanted),
                         torch.autograd.grad((expected * cotangent).sum(), wanted), strict=True):
        torch.testing.assert_close(grad, ref, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('top_k', 'training'), [(3, False), (6, False), (6, True)])
def test_without_noise_or_choice_the_load_is_whole(top_k, training):
    x, weights = inputs(LONG)
    gates = make(6, top_k).train(training)(x, weights)[1]
    assert torch.equal(gates.load, (gates.gates > 0).float())
    assert (gates.load.sum(1) == top_k).all()


def test_gates_are_float32_in_autocast_and_in_half_precision():
    moe = make(6, 3).eval()
    x, weights = inputs(LONG)
    out, gates = moe(x, weights)
    with torch.autocast('cpu', torch.bfloat16):
        cast_out, cast_gates = moe(x, weights)
    assert torch.equal(cast_gates.gates, gates.gates)
    assert torch.equal(cast_gates.probs, gates.probs)
    torch.testing.assert_close(cast_out, out, rtol=.05, atol=.1)
    half_gates = moe.bfloat16()(x.bfloat16(), weights)[1]
    assert half_gates.gates.dtype is torch.float32


def test_prompts_of_tasks():
    assert task_weights('part', 3).tolist() == [[0, 1, 0]]
    assert task_weights('part', 2).tolist() == task_weights('attribute', 2).tolist() == [[0, 1]]
    assert task_weights('appearance', 2).tolist() == [[1, 0]]
    assert task_weights('attribute', 6).tolist() == [[0, 0, 0, 0, .5, .5]]
    assert task_weights(('appearance', 'part'), 3).tolist() == [[.5, .5, 0]]
    torch.testing.assert_close(task_weights(TASKS, 2), torch.tensor([[1 / 3, 2 / 3]]))


@pytest.mark.parametrize(('call', 'words'), [
    (lambda: task_weights('parts'), "'parts'.*appearance, part, attribute.*did you mean 'part'"),
    (lambda: task_weights(()), 'appearance, part, attribute'),
    (lambda: task_weights('part', 4), 'num_prompts=4.*3.*2.*6'),
    (lambda: PCMoE(8, num_experts=4, top_k=5), 'top_k=5.*1 and num_experts=4'),
    (lambda: PCMoE(8, num_experts=4, top_k=0), 'top_k=0'),
    (lambda: PCMoE(8, num_experts=0, top_k=0), 'num_experts=0'),
    (lambda: PCMoE(8, expert_hidden=0), 'expert_hidden=0'),
    (lambda: PCMoE(8, num_prompts=5), 'num_prompts=5'),
    (lambda: PCMoE(8, self_embedding=False, prompt_embedding=False), 'without input'),
])
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize('length', LENGTHS)
def test_a_gpu_gets_no_parts_and_makes_nothing_again(length, monkeypatch):
    """As many operators for 300 images as for 2; the meta device goes a GPU's way."""
    monkeypatch.setattr('clasp_mm.models.layers.pc_moe._PART_BYTES', 1)
    monkeypatch.setattr('clasp_mm.models.layers.pc_moe.checkpoint', None)
    counts = []
    for batch in (2, 300):
        with torch.device('meta'):
            moe = PCMoE(DIM, 4, 2, expert_hidden=HIDDEN, gate_reduction=4)
            x, weights = torch.randn(batch, length, DIM), torch.rand(batch, 3)
        with Counter() as count:
            moe(x, weights)[0].sum().backward()
        counts.append(count.operators.total())
    assert counts[0] == counts[1]

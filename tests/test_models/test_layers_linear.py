"""Linear layers by oneDNN equal torch's, and step aside where somebody needs torch's operators."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from clasp_mm.models.layers import cpu
from clasp_mm.models.layers.linear import Linear, LinearGELU, linear

ONEDNN = 'mkldnn::_linear_pointwise'


def operators(function):
    """Names of the operators that a call runs."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        function()
    return {event.key for event in profile.key_averages()}


@pytest.mark.parametrize('shape', [(5, 24), (2, 7, 24), (2, 3, 4, 24), (1, 1, 24), (0, 24),
                                   (2, 0, 24)])
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('gelu', [True, False])
def test_equals_torch(shape, bias, gelu):
    x, weight = torch.randn(shape), torch.randn(40, 24)
    bias = torch.randn(40) if bias else None
    expected = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    expected = F.gelu(expected) if gelu else expected
    with torch.no_grad():
        torch.testing.assert_close(linear(x, weight, bias, gelu), expected.float(), rtol=1e-5,
                                   atol=1e-5)
    torch.testing.assert_close(linear(x, weight, bias, gelu), expected.float(), rtol=1e-5,
                               atol=1e-5)


def test_strided_input():
    x, weight = torch.randn(4, 24, 6).transpose(1, 2), torch.randn(8, 24)
    with torch.no_grad():
        torch.testing.assert_close(linear(x, weight), F.linear(x, weight))


@pytest.mark.skipif(not cpu._ONEDNN, reason='torch without oneDNN')
def test_where_onednn_is_used(monkeypatch):
    layer, x = Linear(8, 8), torch.randn(3, 8)
    with torch.no_grad():
        assert ONEDNN in operators(lambda: layer(x))
    with torch.inference_mode():
        assert ONEDNN in operators(lambda: layer(x))
    assert ONEDNN in operators(lambda: layer(x))
    with torch.no_grad(), monkeypatch.context() as patch:
        patch.setattr(cpu, 'runs_plainly_on_cpu', lambda x: False)
        assert ONEDNN not in operators(lambda: layer(x))
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    with torch.no_grad():
        assert layer.double()(x.double()).dtype == torch.float64


@pytest.mark.parametrize('shape', [(5, 24), (2, 7, 24), (2, 3, 4, 24)])
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('gelu', [True, False])
def test_gradients(shape, bias, gelu):
    values = [torch.randn(shape), torch.randn(40, 24)] + [torch.randn(40)] * bias
    cotangent = torch.randn(*shape[:-1], 40)

    def gradients(function, dtype):
        inputs = [value.to(dtype, copy=True).requires_grad_() for value in values]
        first = torch.autograd.grad(function(*inputs), inputs, cotangent.to(dtype),
                                    create_graph=True)
        return first, torch.autograd.grad(sum(one.square().sum() for one in first), inputs[:2])

    def plain(*inputs):
        out = F.linear(*inputs)
        return F.gelu(out) if gelu else out

    ours = gradients(lambda *inputs: linear(*inputs, gelu=gelu), torch.float32)
    oracle = gradients(plain, torch.float64)
    for out, ref in zip(ours[0] + ours[1], oracle[0] + oracle[1], strict=True):
        torch.testing.assert_close(out, ref.float(), rtol=1e-4, atol=1e-4 * ref.abs().max().item())


def test_gradients_in_float64():
    layer = LinearGELU(6, 5).double()
    assert torch.autograd.gradcheck(layer, torch.randn(2, 3, 6, dtype=torch.double,
                                                       requires_grad=True))


@pytest.mark.parametrize('frozen', ['x', 'weight', 'bias'])
def test_gradients_where_something_is_frozen(frozen):
    values = dict(x=torch.randn(3, 24), weight=torch.randn(40, 24), bias=torch.randn(40))
    for name, value in values.items():
        value.requires_grad_(name != frozen)
    linear(**values).sum().backward()  # of one value that is repeated, without memory of its own
    grads = {name: value.grad for name, value in values.items()}
    for value in values.values():
        value.grad = None
    F.linear(values['x'], values['weight'], values['bias']).sum().backward()
    for name, value in values.items():
        if name == frozen:
            assert value.grad is None and grads[name] is None
        else:
            torch.testing.assert_close(grads[name], value.grad, rtol=1e-5, atol=1e-5)


def test_function_transforms_see_torchs_operators():
    x, weight = torch.randn(2, 3, 24), torch.randn(40, 24)
    torch.testing.assert_close(torch.func.vmap(lambda one: linear(one, weight))(x),
                               F.linear(x, weight))
    torch.testing.assert_close(
        torch.func.grad(lambda w: linear(x, w).square().sum())(weight),
        torch.func.grad(lambda w: F.linear(x, w).square().sum())(weight))


def test_counted_and_traced_as_torch():
    layer, x = LinearGELU(6, 5), torch.randn(2, 3, 6)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        layer(x)
    assert counter.get_total_flops() == 2 * 2 * 3 * 6 * 5
    with torch.no_grad():
        traced = torch.jit.trace(layer, x)
    assert 'mkldnn' not in str(traced.inlined_graph)
    with torch.no_grad():
        exported = torch.export.export(layer, (x, ))
    assert 'mkldnn' not in str(exported.graph)


def test_hooks_and_replaced_layers_are_heeded():
    layer, x, seen = LinearGELU(6, 5), torch.randn(2, 3, 6), []
    layer[0].register_forward_hook(lambda *args: seen.append(args[2]))
    with torch.no_grad():
        torch.testing.assert_close(layer(x), F.gelu(seen[0]))
        layer[0] = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh())
        torch.testing.assert_close(layer(x), F.gelu(layer[0](x)))


def test_dropout_follows():
    layer, x = LinearGELU(6, 500, drop_rate=0.5), torch.randn(2, 3, 6)
    with torch.no_grad():
        assert (layer.train()(x) == 0).float().mean() > 0.3
        assert (layer.eval()(x) == 0).float().mean() < 0.1

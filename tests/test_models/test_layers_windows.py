"""Tokens to windows and back, and the bias inside them: values, gradients, and in which order."""

import pytest
import torch

from benchmarks.launches import Counter
from clasp_mm.models import PCMoESwin
from clasp_mm.models.layers import (
    ShiftedWindowAttention,
    relative_bias,
    window_attention,
    windows,
)
from clasp_mm.models.layers.relative_bias import relative_position_index
from clasp_mm.models.layers.windows import from_windows, to_windows, window_layout
from tests.oracles import windows as oracle

CPU = torch.device('cpu')
SIZES = [(4, 4), (8, 4), (5, 9), (3, 2), (1, 1)]


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Windows count as heads, and rows of biases lie a multiple of eight apart."""
    monkeypatch.setattr(window_attention, '_takes_windows_as_heads', lambda x: True)
    for module in (relative_bias, windows):
        monkeypatch.setattr(module, 'row_width', lambda size, device: -(-size // 8) * 8)
    monkeypatch.setattr(windows, '_LAYOUTS', {})
    monkeypatch.setattr(relative_bias, '_INDICES', {})


@pytest.mark.parametrize('shift', [0, 1, 2])
@pytest.mark.parametrize('hw', SIZES)
def test_layout_is_the_rolled_map(hw, shift):
    tokens, regions = oracle.window_positions(*hw, 4, shift)
    layout = window_layout(*hw, 4, shift, CPU)
    marks = [hw[0] * hw[1] if token is None else token for window in tokens for token in window]
    assert layout.gather.tolist() == marks
    assert sorted([] if layout.holes is None else layout.holes.tolist()) == [
        place for place, token in enumerate(marks) if token == hw[0] * hw[1]]
    if shift:
        assert layout.mask.tolist() == [[[a != b for b in window] for a in window]
                                        for window in regions]


@pytest.mark.parametrize('last', [False, True])
@pytest.mark.parametrize('shift', [0, 1])
@pytest.mark.parametrize('hw', SIZES)
def test_gathers_equal_the_oracle_and_its_gradients(hw, shift, last):
    torch.manual_seed(0)
    tokens, _ = oracle.window_positions(*hw, 4, shift)
    layout = window_layout(*hw, 4, shift, CPU, window_last=last)
    x = torch.randn(2, hw[0] * hw[1], 6, dtype=torch.double, requires_grad=True)
    padding = torch.randn(6, dtype=torch.double, requires_grad=True)
    ref = torch.stack([oracle.to_windows(one, padding, tokens) for one in x])
    out = to_windows(x, padding, layout)
    if last:  # (B, 3, N * nW, 2), three parts of a row one after the other
        out = out.view(2, 3, 16, -1, 2).permute(0, 3, 2, 1, 4)
    out = out.reshape(ref.shape)
    assert torch.equal(out, ref)
    cotangent = torch.randn_like(ref)
    grads, refs = (torch.autograd.grad(one, [x, padding], cotangent, allow_unused=True)
                   for one in (out, ref))
    assert torch.equal(grads[0], refs[0])
    if layout.holes is not None:
        torch.testing.assert_close(grads[1], refs[1])

    rows = torch.randn(2, len(layout.gather), 6, dtype=torch.double, requires_grad=True)
    back = from_windows(rows, layout)
    assert torch.equal(back, rows.index_select(1, layout.scatter))
    cotangent = torch.randn_like(back)
    assert torch.equal(*(torch.autograd.grad(one, rows, cotangent)[0]
                         for one in (back, rows.index_select(1, layout.scatter))))


def test_gathers_by_hand():
    """Tokens a b c of a 1x3 map in windows of side 2, not shifted; p is padding.

    Padded to 2x4 the map is ``a b c p / p p p p``: the windows are a b p p and c p p p. With the
    cotangent 1 2 3 4, 5 6 7 8 the gradients are a 1, b 2, c 5 and p 3 + 4 + 6 + 7 + 8 = 28. Back:
    the tokens lie at places 0, 1 and 4; the cotangent 1 2 3 goes there, and 0 to the padding.
    """
    layout = window_layout(1, 3, 2, 0, CPU)
    x = torch.tensor([10., 20., 30.]).view(1, 3, 1).requires_grad_()
    padding = torch.tensor([7.], requires_grad=True)
    out = to_windows(x, padding, layout)
    assert out.flatten().tolist() == [10., 20., 7., 7., 30., 7., 7., 7.]
    out.backward(torch.arange(1., 9.).view_as(out))
    assert x.grad.flatten().tolist() == [1., 2., 5.]
    assert padding.grad.tolist() == [28.]
    rows = torch.arange(8.).view(1, 8, 1).requires_grad_()
    back = from_windows(rows, layout)
    assert back.flatten().tolist() == [0., 1., 4.]
    back.backward(torch.tensor([1., 2., 3.]).view_as(back))
    assert rows.grad.flatten().tolist() == [1., 2., 0., 0., 3., 0., 0., 0.]


@pytest.mark.parametrize('batch', [None, 5])
@pytest.mark.parametrize('width', [16, 24])
def test_relative_bias_equals_indexing(width, batch, monkeypatch):
    monkeypatch.setattr(relative_bias, 'row_width', lambda size, device: width)
    monkeypatch.setattr(relative_bias, '_INDICES', {})
    torch.manual_seed(0)
    table = torch.randn(49, 3, dtype=torch.double, requires_grad=True)
    mask = torch.zeros(2, 16, width, dtype=torch.bool)
    mask[1, 3:, :5] = True
    ref = table[relative_position_index(4)].permute(2, 0, 1) - 1e4 * mask[:, None, :, :16].double()
    ref = ref if batch is None else ref.flatten(0, 1).expand(batch, -1, -1, -1)
    out = relative_bias.relative_bias(table, 4, mask, batch=batch)
    assert out.stride(-2) == width and (batch is None or out.stride(0) == 0)
    torch.testing.assert_close(out, ref, rtol=0, atol=1e-9)
    cotangent = torch.randn_like(ref)
    torch.testing.assert_close(*(torch.autograd.grad(one, table, cotangent)[0]
                                 for one in (out, ref)))


def test_gradient_of_the_bias_by_hand():
    """Side 2: positions 00 01 10 11, table rows (dy + 1) * 3 + dx + 1.

    Row 4 (no offset) is met by the four pairs of a position with itself: 0 + 5 + 10 + 15 = 30 of
    the cotangent 0 to 15; row 0 (-1, -1) by the pair 00, 11 alone, number 3.
    """
    table = torch.zeros(9, 1, requires_grad=True)
    relative_bias.relative_bias(table, 2).backward(torch.arange(16.).view(1, 1, 4, 4))
    assert table.grad[4].item() == 30 and table.grad[0].item() == 3


@pytest.mark.parametrize('hw', [(8, 5), (8, 8), (3, 2)])
def test_windows_as_heads_equal_windows_one_by_one(hw, request):
    torch.manual_seed(0)
    attention = ShiftedWindowAttention(8, 2, 4, 2).double()
    for param in attention.parameters():
        torch.nn.init.normal_(param, std=.5)
    x = torch.randn(3, hw[0] * hw[1], 8, dtype=torch.double, requires_grad=True)
    cotangent = torch.randn_like(x)
    results = []
    for fixture in (None, 'as_on_a_gpu'):
        if fixture:
            request.getfixturevalue(fixture)
        out = attention(x, hw)
        results.append([out, *torch.autograd.grad(out, [x, *attention.parameters()], cotangent)])
        with torch.no_grad():
            torch.testing.assert_close(attention(x, hw), out)
    for heads, ref in zip(*results[::-1], strict=True):
        torch.testing.assert_close(heads, ref)


def test_the_mask_is_not_repeated_over_the_batch(as_on_a_gpu, monkeypatch):
    """Its bytes in memory, of 2 windows and 2 heads of 16 rows of 16: not more for more images."""
    sizes = []
    fused = window_attention._fused_attention

    def look(q, k, v, bias, drop):
        sizes.append((bias.shape[0], bias.untyped_storage().nbytes(), bias.dtype))
        return fused(q, k, v, bias, drop)

    monkeypatch.setattr(window_attention, '_fused_attention', look)
    attention = ShiftedWindowAttention(8, 2, 4, 2)
    for batch in (1, 6):
        with torch.autocast('cpu', torch.bfloat16):
            attention(torch.randn(batch, 32, 8), (8, 4)).sum().backward()
    assert sizes == [(batch, 2 * 2 * 16 * 16 * 2, torch.bfloat16) for batch in (1, 6)]


# Of torch.use_deterministic_algorithms' list, what adds by atomics on a GPU.
COLLIDING = {'index_add', 'index_add_', 'scatter_add', 'scatter_add_', 'index_put', 'index_put_',
             '_index_put_impl_', '_unsafe_index_put', 'scatter_reduce', 'put_',
             'embedding_dense_backward', 'kthvalue', 'cumsum', 'nll_loss2d_backward',
             'upsample_bilinear2d_backward', 'reflection_pad2d_backward', 'histc', 'bincount'}


def small_backbone() -> PCMoESwin:
    """With chosen experts where there are 8 tokens and more."""
    return PCMoESwin(dict(embed_dims=8, depths=(2, 2), num_heads=(2, 4)), 'part',
                     dict(num_experts=4, top_k=2, expert_hidden=4), strides=(4, 2),
                     out_indices=(1, ), window_size=5).train()


@pytest.mark.parametrize('device', ['cpu', 'meta'])  # meta goes a GPU's way, and has no kernels
def test_no_gradient_of_the_backbone_collides(device):
    with torch.device(device):
        model = small_backbone()
        with Counter() as seen:
            model(torch.randn(2, 3, 36, 20))[0].sum().backward()
    assert {'index_select', 'bmm'} <= set(seen.operators)
    assert not set(seen.operators) & COLLIDING


@pytest.mark.parametrize('allowed', [True, False])
def test_a_gpu_attends_without_cudnn(allowed, monkeypatch):
    from torch._subclasses import FakeTensorMode
    monkeypatch.setattr(torch.nn.init, 'trunc_normal_', torch.nn.init.normal_)  # no data to look at
    seen, attend = [], torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(torch.nn.functional, 'scaled_dot_product_attention', lambda *args: (
        seen.append(torch.backends.cuda.cudnn_sdp_enabled()), attend(*args))[1])
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(allowed)
    try:
        with FakeTensorMode(), torch.device('cuda'), torch.no_grad():
            small_backbone()(torch.randn(2, 3, 36, 20))
        assert torch.backends.cuda.cudnn_sdp_enabled() is allowed
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)
    assert seen == [False] * 4


def test_training_step_is_deterministic():
    model = small_backbone()
    x = torch.randn(2, 3, 36, 20)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        grads = []
        for _ in range(2):
            torch.manual_seed(0)
            model.zero_grad()
            model(x)[0].square().sum().backward()
            grads.append([param.grad for param in model.parameters() if param.requires_grad])
    finally:
        torch.use_deterministic_algorithms(before)
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_function_transforms_see_torchs_operators():
    attention = ShiftedWindowAttention(8, 2, 4, 2)
    x, tangent = torch.randn(2, 15, 8), torch.randn(2, 15, 8)
    ref = attention(x, (5, 3))
    torch.testing.assert_close(torch.func.vmap(lambda one: attention(one[None], (5, 3))[0])(x),
                               ref, rtol=1e-4, atol=1e-5)
    out, change = torch.func.jvp(lambda one: attention(one, (5, 3)), (x, ), (tangent, ))
    torch.testing.assert_close(out, ref)
    numeric = (attention(x + 1e-3 * tangent, (5, 3)) - attention(x - 1e-3 * tangent, (5, 3))) / 2e-3
    torch.testing.assert_close(change, numeric, rtol=1e-2, atol=1e-3)

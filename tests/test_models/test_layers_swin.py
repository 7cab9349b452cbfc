"""Parts of Swin that are not covered by the comparison of the whole network with mmpretrain's."""

import pytest
import torch
from mmpretrain.models.utils import ShiftWindowMSA

from clasp_mm.models.layers import (
    DropPath,
    ShiftedWindowAttention,
    resize_bias_table,
    window_layout,
)
from clasp_mm.models.layers import windows as module


@pytest.fixture
def clean_layouts(monkeypatch):
    monkeypatch.setattr(module, '_LAYOUTS', {})


def pair(window: int, shift: int, **kwargs):
    """Our attention and mmpretrain's with the same weights."""
    torch.manual_seed(0)
    ours = ShiftedWindowAttention(8, 2, window, shift, **kwargs)
    theirs = ShiftWindowMSA(8, 2, window, shift, pad_small_map=kwargs.get('pad_small_map', True))
    for param in theirs.parameters():
        torch.nn.init.normal_(param, std=.5)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize('shift', [0, 1, 2, 3])
@pytest.mark.parametrize(('pad_small_map', 'hw'), [
    (pad, hw) for pad in (True, False) for hw in [(1, 1), (3, 2), (4, 4), (5, 9), (8, 4), (11, 7)]
    if pad or min(hw) >= 4])
def test_attention_equals_mmpretrain(pad_small_map, hw, shift):
    ours, theirs = pair(4, shift, pad_small_map=pad_small_map)
    x = torch.randn(3, hw[0] * hw[1], 8, requires_grad=True)
    out, ref = ours(x, hw), theirs(x, hw)
    torch.testing.assert_close(out, ref, rtol=1e-5, atol=1e-5)
    with torch.no_grad():  # the fused kernel; with gradients the CPU multiplies explicitly
        torch.testing.assert_close(ours(x, hw), ref, rtol=1e-5, atol=1e-5)
    cotangent = torch.randn_like(out)
    theirs_params = dict(theirs.named_parameters())
    wanted = dict(ours.named_parameters())
    grads = torch.autograd.grad(out, [x, *wanted.values()], cotangent)
    refs = torch.autograd.grad(ref, [x, *(theirs_params[name] for name in wanted)], cotangent)
    for grad, ref_grad in zip(grads, refs, strict=True):
        torch.testing.assert_close(grad, ref_grad, rtol=1e-4, atol=1e-5)


def test_one_window_by_hand():
    """Tokens 1, 2, 3, 4 on a 2x2 map, one window of side 2, shift 1; equal attention, values kept.

    Shifted by one, no two of the four were neighbours: each sees itself alone. Not shifted, each
    has the mean, (1 + 2 + 3 + 4) / 4 = 2.5.
    """
    x = torch.tensor([1., 2., 3., 4.]).view(1, 4, 1)
    for pad_small_map, result in ((True, [1., 2., 3., 4.]), (False, [2.5] * 4)):
        attention = ShiftedWindowAttention(1, 1, 2, 1, pad_small_map=pad_small_map)
        attention.load_state_dict({
            'w_msa.relative_position_bias_table': torch.zeros(9, 1),
            'w_msa.qkv.weight': torch.tensor([[0.], [0.], [1.]]), 'w_msa.qkv.bias': torch.zeros(3),
            'w_msa.proj.weight': torch.ones(1, 1), 'w_msa.proj.bias': torch.zeros(1)})
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                out = attention(x, (2, 2)).flatten().tolist()
            assert out == pytest.approx(result)


def test_a_map_below_the_window_is_padded_or_refused():
    attention = ShiftedWindowAttention(8, 2, 4, 2, pad_small_map=False)
    with pytest.raises(ValueError, match=r'8x3 tokens.*window_size=4.*pad_small_map=True'):
        attention(torch.randn(1, 24, 8), (8, 3))


def test_fused_attention_without_learnable_bias_has_the_same_gradients():
    ours, _ = pair(4, 2)
    x = torch.randn(2, 45, 8, requires_grad=True)
    cotangent = torch.randn(2, 45, 8)
    ref = torch.autograd.grad(ours(x, (5, 9)), x, cotangent)[0]
    ours.w_msa.relative_position_bias_table.requires_grad_(False)
    grad = torch.autograd.grad(ours(x, (5, 9)), x, cotangent)[0]
    torch.testing.assert_close(grad, ref, rtol=1e-4, atol=1e-5)


def test_attention_dropout_acts_in_training_only():
    x = torch.randn(1, 16, 8)
    dropping, _ = pair(4, 0, attn_drop_rate=.5)
    plain, _ = pair(4, 0)
    assert not torch.allclose(dropping.train()(x, (4, 4)), plain(x, (4, 4)))
    assert torch.equal(dropping.eval()(x, (4, 4)), plain(x, (4, 4)))
    dropping.requires_grad_(False).train()  # the fused kernel
    assert not torch.allclose(dropping(x, (4, 4)), plain(x, (4, 4)))


def test_heads_must_divide_channels():
    with pytest.raises(ValueError, match=r'10 channels.*num_heads=4'):
        ShiftedWindowAttention(10, 4)


def test_layout_kept_in_inference_mode_can_be_trained_with(clean_layouts):
    attention = ShiftedWindowAttention(8, 2, 4, 2)
    x = torch.randn(1, 35, 8)
    with torch.inference_mode():
        attention(x, (5, 7))
    attention(x, (5, 7)).sum().backward()
    assert attention.w_msa.qkv.weight.grad.abs().sum() > 0


def test_kept_layouts_are_bounded_and_reused(clean_layouts, monkeypatch):
    monkeypatch.setattr(module, '_MAX_BYTES', 10_000)
    cpu = torch.device('cpu')
    first = window_layout(5, 5, 4, 2, cpu)
    assert window_layout(5, 5, 4, 2, cpu) is first
    for side in range(6, 20):
        window_layout(side, 5, 4, 2, cpu)
        assert sum(x.nbytes for kept in module._LAYOUTS.values() for x in kept) <= 3 * 10_000
    again = window_layout(5, 5, 4, 2, cpu)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_fake_tensors_are_not_kept(clean_layouts):
    from torch._subclasses import FakeTensorMode
    with FakeTensorMode():
        window_layout(5, 5, 4, 2, torch.device('cpu'))
    assert not module._LAYOUTS


def test_bias_table_of_a_smooth_bias_keeps_its_form():
    def table(window):
        offset = torch.arange(1. - window, window) / window
        bias = torch.exp(-(offset[:, None]**2 + .5 * offset[None]**2))
        return torch.stack([bias.flatten(), 3 * bias.flatten() + offset.repeat(2 * window - 1)], 1)

    error = (resize_bias_table(table(7), 12) - table(12)).abs().amax(0)
    assert (error < .06 * table(12).abs().amax(0)).all()  # largest at the outermost offsets
    torch.testing.assert_close(resize_bias_table(table(7), 7), table(7))
    with pytest.raises(ValueError, match='12 rows'):
        resize_bias_table(torch.zeros(12, 3), 7)


def test_drop_path_drops_whole_images_and_keeps_the_mean():
    torch.manual_seed(0)
    x = torch.rand(2000, 3, 2) + 1
    drop = DropPath(.3)
    out = drop(x)
    kept = (out != 0).flatten(1)
    assert torch.equal(kept.all(1), kept.any(1))
    torch.testing.assert_close(out[kept.all(1)], x[kept.all(1)] / .7)
    assert abs(kept.all(1).float().mean() - .7) < .04
    assert torch.equal(drop.eval()(x), x)

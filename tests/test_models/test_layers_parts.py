"""Inference some rows at a time equals inference in one go, and is left out where it must be."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from clasp_mm.models import PCMoESwin
from clasp_mm.models.layers import SwinBlock, cpu
from clasp_mm.models.layers.window_attention import ShiftedWindowAttention

ARCH = dict(embed_dims=8, depths=(2, 2), num_heads=(2, 4))


def make_parts_small(monkeypatch):
    """Every layer is a large one, and a part has few rows."""
    monkeypatch.setattr(cpu, '_LARGE', 0)
    monkeypatch.setattr(cpu, '_PART', 5000)


@pytest.fixture()
def small_parts(monkeypatch):
    make_parts_small(monkeypatch)


@pytest.fixture()
def sizes(monkeypatch):
    """(images, tokens) of every call of a block, and how many tokens its attention projects."""
    seen = dict(block=[], qkv=[])
    run, attend = SwinBlock.forward, ShiftedWindowAttention._attend

    def block(self, x, hw):
        seen['block'].append((int(x.shape[0]), int(x.shape[1])))
        return run(self, x, hw)

    def attention(self, qkv, *args):
        seen['qkv'].append(qkv.numel() // qkv.shape[-1])
        return attend(self, qkv, *args)

    monkeypatch.setattr(SwinBlock, 'forward', block)
    monkeypatch.setattr(ShiftedWindowAttention, '_attend', attention)
    return seen


def model(**kwargs):
    torch.manual_seed(0)
    backbone = PCMoESwin(ARCH, 'part', dict(num_experts=4, top_k=2, expert_hidden=4),
                         strides=(4, 2), out_indices=(0, 1), window_size=4, **kwargs)
    for param in backbone.parameters():
        torch.nn.init.normal_(param, std=.3)
    return backbone.eval()


@pytest.mark.parametrize(('batch', 'hw', 'kwargs'), [
    (5, (64, 32), {}), (5, (60, 44), {}), (1, (128, 128), {}), (1, (124, 132), {}),
    (1, (32, 512), dict(pad_small_map=False))])  # whose last map is not shifted
@torch.no_grad()
def test_parts_equal_the_whole(batch, hw, kwargs, monkeypatch, sizes):
    backbone, x = model(**kwargs), torch.randn(batch, 3, *hw)
    whole = backbone(x)
    tokens = (hw[0] // 4) * (hw[1] // 4)
    assert set(sizes['block'][:2]) == {(batch, tokens)}
    sizes['block'].clear(), sizes['qkv'].clear()
    make_parts_small(monkeypatch)
    for out, ref in zip(backbone(x), whole, strict=True):
        torch.testing.assert_close(out, ref)
    assert all(images * count * 32 <= 5000 or images == 1 for images, count in sizes['block'])
    assert max(sizes['qkv']) <= 5000 // 24  # so the windows of one image, too, went in parts


def test_one_go_with_gradients_and_under_a_trace(small_parts, sizes):
    backbone, x = model(), torch.randn(5, 3, 64, 32)
    backbone(x)
    with torch.no_grad():
        torch.jit.trace(backbone, x, strict=False, check_trace=False)
        with FlopCounterMode(display=False) as counter:
            backbone(x)
    assert counter.get_total_flops() > 0
    assert {images for images, _ in sizes['block']} == {5}


@torch.no_grad()
def test_a_hook_sees_the_whole_batch(small_parts):
    backbone, x = model(), torch.randn(5, 3, 64, 32)
    ref = backbone(x)
    shapes = []
    handle = backbone.stages[0].blocks[1].ffn.layers[0].register_forward_hook(
        lambda module, inputs, output: shapes.append(tuple(output.shape)))
    for out, other in zip(backbone(x), ref, strict=True):
        torch.testing.assert_close(out, other)
    assert shapes == [(5, 128, 32)]
    handle.remove()


def test_small_layers_go_in_one(sizes):
    with torch.no_grad():
        model()(torch.randn(5, 3, 64, 32))
    assert {images for images, _ in sizes['block']} == {5}

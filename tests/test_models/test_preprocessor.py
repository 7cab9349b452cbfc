"""Views as mmpretrain's preprocessor gives them; on a GPU, here a fake one, without a wait."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import MODELS
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from clasp_mm.models.pretrain import preprocessor as module
from tests.test_models.test_pretrain import make_batch, make_clasp, make_dino

SETTINGS = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
CUDA = torch.device('cuda', 0)


def pixels(batch=3):
    generator = torch.Generator().manual_seed(0)
    sizes = [(32, 16)] * 2 + [(16, 8)] * 3
    return [torch.randint(0, 256, (batch, 3, *size), generator=generator, dtype=torch.uint8)
            for size in sizes]


@pytest.mark.parametrize('changes', [
    {}, dict(bgr_to_rgb=False), dict(mean=None, std=None), dict(mean=[7.], std=[2.])], ids=str)
def test_the_values_are_those_of_the_host(changes):
    ours, theirs = (MODELS.build(dict(SETTINGS, **changes, type=name)) for name in (
        'clasp_mm.ViewPreprocessor', 'mmpretrain.SelfSupDataPreprocessor'))
    samples = dict(sample_idx=torch.arange(3), skipped=['', 'a.jpg', ''])
    batch = dict(inputs=pixels(), data_samples=samples)
    found, expected = ours(batch, True), theirs(batch, True)
    torch.testing.assert_close(found['inputs'], expected['inputs'], rtol=0, atol=0)
    assert found['data_samples']['skipped'] == samples['skipped']
    single = dict(inputs=pixels()[0], data_samples=None)
    torch.testing.assert_close(ours(single)['inputs'], theirs(single)['inputs'], rtol=0, atol=0)


@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32])
@pytest.mark.parametrize('swapped', [True, False])
def test_by_hand(dtype, swapped):
    """Blue 10, green 20, red 30, less the means 5, 4, 3 of red, green, blue, over 5, 2, 7."""
    view = torch.tensor([10, 20, 30], dtype=dtype).view(1, 3, 1, 1)
    found = module.ViewPreprocessor(mean=[5, 4, 3], std=[5, 2, 7], bgr_to_rgb=swapped)(
        dict(inputs=[view], data_samples=None))['inputs'][0]
    assert found.flatten().tolist() == pytest.approx(
        [25 / 5, 16 / 2, 7 / 7] if swapped else [5 / 5, 16 / 2, 27 / 7])
    assert view.flatten().tolist() == [10, 20, 30]


class Waits(TorchDispatchMode):
    """What makes a host wait for a GPU, and what crosses to it without a wait."""

    def __init__(self):
        super().__init__()
        self.waits, self.crossed = [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        places = {leaf.device.type for leaf in tree_leaves((args, kwargs, out))
                  if isinstance(leaf, torch.Tensor)}
        name = func.overloadpacket.__name__
        if name in ('_local_scalar_dense', 'nonzero', 'masked_select'):
            self.waits.append(name)
        elif len(places) > 1:
            if name == '_to_copy' and kwargs.get('non_blocking'):
                self.crossed.append(args[0].dtype)
            else:
                self.waits.append(name)
        return out


@contextmanager
def fake_gpu(monkeypatch, model):
    """Model and preprocessor on a GPU of fake tensors; gives the order of streams' events."""
    events = []

    @contextmanager
    def stream(one):
        events.append(f'on {one.name}')
        yield
        events.append(f'off {one.name}')

    compute = SimpleNamespace(name='compute', device=CUDA,
                              wait_stream=lambda other: events.append(f'wait for {other.name}'))
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda device=None: compute)
    monkeypatch.setattr(torch.cuda, 'stream', stream)
    monkeypatch.setattr(module, '_copy_stream', lambda device: SimpleNamespace(name='copies'))
    monkeypatch.setattr(torch.Tensor, 'record_stream',
                        lambda self, one: events.append(f'kept for {one.name}'))
    with FakeTensorMode(allow_non_fake_inputs=True):
        for part in model.modules():
            for values in (part._parameters, part._buffers):
                for name, value in values.items():
                    if value is not None:
                        fake = torch.empty(value.shape, dtype=value.dtype, device=CUDA)
                        values[name] = torch.nn.Parameter(fake) if value.requires_grad else fake
        model.data_preprocessor._device = CUDA
        yield events


@pytest.mark.parametrize('make', [make_dino, make_clasp])
def test_from_batch_to_losses_nothing_waits_and_only_the_batch_crosses(monkeypatch, make):
    model = make(data_preprocessor=SETTINGS).train()
    samples = make_batch()[1]
    views = pixels(batch=4)
    with fake_gpu(monkeypatch, model) as events, Waits() as seen:
        batch = model.data_preprocessor(dict(inputs=views, data_samples=samples), True)
        model.loss(**batch)
    assert not seen.waits
    assert seen.crossed[:5] == [torch.uint8] * 5
    assert len(seen.crossed) == 5 + sum(torch.is_tensor(value) for value in samples.values())
    assert events == ['on copies', 'off copies', 'wait for copies',
                      *['kept for compute'] * len(seen.crossed)]


def test_the_host_preprocessor_waits(monkeypatch):
    """What the test above would see: each of five views is copied, and so is its list index."""
    model = make_dino(data_preprocessor=dict(
        SETTINGS, type='mmpretrain.SelfSupDataPreprocessor'))
    with fake_gpu(monkeypatch, model), Waits() as seen:
        model.data_preprocessor(dict(inputs=pixels(), data_samples=None), True)
    assert seen.waits == ['_to_copy'] * 10

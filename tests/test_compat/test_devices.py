"""No operator mixes tensors of the CPU into work on a GPU: seen without one, by fake tensors.

nms and deformable attention depend on values, which fake tensors have not.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map_only

from clasp_mm.compat.operators import OPERATORS
from tests.test_compat.conftest import called_by_mmcv

pytest.importorskip('mmcv')


def align(mode, ratio=2):
    from mmcv.ops import roi_align
    maps = torch.zeros(2, 3, 9, 9, requires_grad=True)
    roi_align(maps, torch.zeros(4, 5), 3, 0.5, ratio, mode, True).sum().backward()


def deformed(modulated):
    from mmcv.ops import deform_conv2d, modulated_deform_conv2d
    maps, offset, mask, weight = (
        torch.zeros(shape, requires_grad=True)
        for shape in ((2, 4, 8, 8), (2, 18, 8, 8), (2, 9, 8, 8), (6, 4, 3, 3)))
    (modulated_deform_conv2d(maps, offset, mask, weight, None, 1, 1) if modulated
     else deform_conv2d(maps, offset, weight, 1, 1)).sum().backward()


def psa(kind):
    from mmcv.ops import PSAMask
    values = torch.zeros(2, 9, 5, 5, requires_grad=True)
    PSAMask(kind, (3, 3))(values).sum().backward()


def reassembled():
    from mmcv.ops import carafe
    pair = [torch.zeros(shape, requires_grad=True)
            for shape in ((1, 4, 3, 3), (1, 9, 6, 6))]
    carafe(*pair, 3, 1, 2).sum().backward()


def focal(kind):
    from mmcv import ops
    logits = torch.zeros(6, 4, requires_grad=True)
    getattr(ops, f'{kind}_focal_loss')(logits, torch.zeros(6, dtype=torch.long), 2.0,
                                       0.25, torch.ones(4)).backward()


def overlaps():
    from mmcv.ops import bbox_overlaps
    boxes = torch.zeros(5, 4)
    bbox_overlaps(boxes, boxes, offset=1)


def masked():
    from mmcv.ops import MaskedConv2d
    MaskedConv2d(2, 3, 3, padding=1)(torch.zeros(1, 2, 5, 5), torch.ones(1, 5, 5))


@pytest.mark.parametrize('call, arguments, count', [
    (align, ['avg'], 2), (align, ['avg', 0], 2), (align, ['max'], 2), (deformed, [True], 2),
    (deformed, [False], 3),
    (psa, ['collect'], 2), (psa, ['distribute'], 2), (reassembled, [], 2), (focal, ['sigmoid'], 2),
    (focal, ['softmax'], 2), (overlaps, [], 1), (masked, [], 2)])
def test_one_device(call, arguments, count):
    calls = []

    def recorded(name):
        def operator(*args, **kwargs):
            calls.append((name, args, kwargs))
            return OPERATORS[name](*args, **kwargs)
        return operator

    with called_by_mmcv({name: recorded(name) for name in OPERATORS}):
        call(*arguments)
    assert len(calls) == count
    for name, args, kwargs in calls:
        with FakeTensorMode(), torch.no_grad():
            OPERATORS[name](*tree_map_only(torch.Tensor, lambda one: torch.empty(
                one.shape, dtype=one.dtype, device='cuda'), args), **kwargs)


def test_a_mix_would_be_seen():
    with FakeTensorMode(), pytest.raises(RuntimeError, match='device'):
        torch.empty(3, device='cuda') + torch.empty(3)

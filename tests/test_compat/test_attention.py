import pytest
import torch

from tests.oracles import operators as oracle
from tests.test_compat.test_sampling import grads

SHAPES = [(3, 4), (2, 2), (1, 1)]


def attend(value, locations, weights, shapes=SHAPES):
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
    table = torch.tensor(shapes)
    sizes = table.prod(1)
    return MultiScaleDeformableAttnFunction.apply(
        value, table, sizes.cumsum(0) - sizes, locations, weights, 64)


def drawn(dtype=torch.float64, queries=3):
    """Some points are outside of the maps."""
    value = torch.randn(2, 17, 2, 3, dtype=dtype)
    locations = torch.rand(2, queries, 2, 3, 4, 2, dtype=dtype) * 1.6 - 0.3
    weights = torch.rand(2, queries, 2, 3, 4, dtype=dtype)
    return [one.requires_grad_() for one in (value, locations, weights)]


def test_deformable_attention_is_that_of_the_loop(ours):
    inputs = drawn()
    wanted = [oracle.deformable_attention(value, SHAPES, locations, weights)
              for value, locations, weights in zip(*(one.tolist() for one in inputs), strict=True)]
    torch.testing.assert_close(attend(*inputs), torch.tensor(wanted, dtype=torch.float64), rtol=0,
                               atol=1e-12)


def test_gradients_of_deformable_attention(ours):
    assert torch.autograd.gradcheck(attend, drawn(queries=1))


def test_deformable_attention_by_hand(ours):
    value = torch.arange(4.0).reshape(1, 4, 1, 1)  # a map of 2 x 2: 0 1 / 2 3
    # the middle of the map: (0 + 1 + 2 + 3) / 4; the middle of its upper left cell: 0
    locations = torch.tensor([[0.5, 0.5], [0.25, 0.25]]).reshape(1, 1, 1, 1, 2, 2)
    weights = torch.tensor([0.8, 0.2]).reshape(1, 1, 1, 1, 2)
    assert attend(value, locations, weights, [(2, 2)]).item() == pytest.approx(0.8 * 1.5)


def test_no_query(ours):
    inputs = drawn(queries=0)
    found = grads(attend(*inputs), *inputs)
    assert found[0].shape == (2, 0, 6) and not found[1].any()


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_deformable_attention_rounds_low_precision_once(ours, dtype):
    rounded = [one.detach().to(dtype) for one in drawn()]

    def run(convert):
        inputs = [convert(one).requires_grad_() for one in rounded]
        return grads(attend(*inputs), *inputs)

    for low, high in zip(run(torch.clone), run(torch.Tensor.float), strict=True):
        torch.testing.assert_close(low, high.to(dtype))

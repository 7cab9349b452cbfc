import pytest
import torch

from tests.oracles import operators as oracle
from tests.test_compat.test_sampling import close, grads


def masks(kind, mask, size, dtype=torch.float32):
    from mmcv.ops import PSAMask
    values = torch.randn(2, mask[0] * mask[1], *size, dtype=dtype, requires_grad=True)
    return grads(PSAMask(kind, mask)(values), values)


@pytest.mark.parametrize('kind', ['collect', 'distribute'])
@pytest.mark.parametrize('mask, size', [((9, 9), (5, 5)), ((3, 5), (6, 4)), ((4, 2), (3, 7)),
                                        ((1, 1), (1, 1))])
def test_psamask_is_that_of_compiled_mmcv(by_both, kind, mask, size):
    for dtype in (torch.float32, torch.float64):
        close(*by_both(lambda dtype=dtype: masks(kind, mask, size, dtype)), gradient=0)


def test_psamask_by_hand(ours):
    from mmcv.ops import PSAMask
    # one row of three cells, masks of three: cell x has the weights 10 x + 0, 1, 2 for x - 1..x + 1
    values = torch.tensor([[0.0, 10, 20], [1, 11, 21], [2, 12, 22]]).reshape(1, 3, 1, 3)
    collected = PSAMask('collect', (1, 3))(values)
    assert collected.reshape(3, 3).tolist() == [[1, 10, 0], [2, 11, 20], [0, 12, 21]]
    spread = PSAMask('distribute', (1, 3))(values)
    assert spread.reshape(3, 3).tolist() == [[1, 2, 0], [10, 11, 12], [0, 20, 21]]


@pytest.mark.parametrize('kernel', [1, 3, 5])
@pytest.mark.parametrize('share', [0.0, 0.4, 1.0])
def test_masked_convolution_is_that_of_the_loop(ours, kernel, share):
    from mmcv.ops import MaskedConv2d
    layer = MaskedConv2d(2, 3, kernel, padding=kernel // 2).double()
    image = torch.randn(1, 2, 5, 7, dtype=torch.float64)
    mask = (torch.rand(1, 5, 7) < share).long()
    wanted = oracle.masked_convolution(image[0].tolist(), mask[0].tolist(), layer.weight.tolist(),
                                       layer.bias.tolist(), kernel // 2)
    torch.testing.assert_close(layer(image, mask)[0], torch.tensor(wanted, dtype=torch.float64),
                               rtol=0, atol=1e-12)
    torch.testing.assert_close(layer(image, mask), layer(image) * mask, rtol=0, atol=1e-12)


def test_masked_convolution_by_hand(ours):
    from mmcv.ops import masked_conv2d
    image = torch.tensor([[1.0, 2, 3]]).reshape(1, 1, 1, 3)
    weight = torch.tensor([[1.0, 10, 100]]).reshape(1, 1, 1, 3)
    found = masked_conv2d(image, torch.tensor([[[1, 0, 1]]]), weight, torch.tensor([0.5]), (0, 1))
    # 0 + 10 + 200 + 0.5; masked; 2 + 30 + 0 + 0.5
    assert found.flatten().tolist() == [210.5, 0, 32.5]


@pytest.mark.parametrize('size, groups, scale', [(3, 1, 2), (5, 2, 2), (1, 4, 3), (5, 1, 1)])
def test_carafe_is_that_of_the_loop(ours, size, groups, scale):
    from mmcv.ops import carafe, carafe_naive
    features = torch.randn(2, 4, 3, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, groups * size * size, 3 * scale, 5 * scale, dtype=torch.float64,
                         requires_grad=True)
    wanted = [oracle.carafe(*pair, size, groups, scale)
              for pair in zip(features.tolist(), weights.tolist(), strict=True)]
    for function in (carafe, carafe_naive):
        found = function(features, weights, size, groups, scale)
        torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=0,
                                   atol=1e-12)
    assert torch.autograd.gradcheck(
        lambda *pair: carafe(*pair, size, groups, scale), (features[:1, :, :2, :2].detach(
        ).requires_grad_(), weights[:1, :, :2 * scale, :2 * scale].detach().requires_grad_()))


def test_carafe_by_hand(ours):
    from mmcv.ops import carafe
    features = torch.tensor([[1.0, 2]]).reshape(1, 1, 1, 2)
    # each of four fine cells weighs its coarse cell's left, own, right by 1, 10, 100
    weights = torch.tensor([1.0, 10, 100]).reshape(1, 3, 1, 1)
    masks = torch.zeros(1, 9, 2, 4)
    masks[:, 3:6] = weights  # the middle row of the 3 x 3
    # 0 + 10 + 200; 1 + 20 + 0
    assert carafe(features, masks, 3, 1, 2)[0, 0].tolist() == [[210, 210, 21, 21]] * 2


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_carafe_rounds_low_precision_once(ours, dtype):
    from mmcv.ops import carafe
    drawn = [torch.randn(1, 2, 3, 3).to(dtype), torch.randn(1, 9, 6, 6).to(dtype)]

    def run(convert):
        pair = [convert(one).requires_grad_() for one in drawn]
        return grads(carafe(*pair, 3, 1, 2), *pair)

    for low, high in zip(run(torch.clone), run(torch.Tensor.float), strict=True):
        assert torch.equal(low, high.to(dtype))

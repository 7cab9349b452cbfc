import math

import pytest
import torch
import torch.nn.functional as F

from tests.oracles import operators as oracle

WEIGHTS = [None, [0.5, 2.0, 1.0, 3.0]]


def both(kind, logits, target, gamma, alpha, weight, reduction='none'):
    from mmcv.ops import sigmoid_focal_loss, softmax_focal_loss
    function = {'sigmoid': sigmoid_focal_loss, 'softmax': softmax_focal_loss}[kind]
    return function(logits, target, gamma, alpha, weight, reduction)


@pytest.mark.parametrize('weight', WEIGHTS)
@pytest.mark.parametrize('gamma', [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize('kind', ['sigmoid', 'softmax'])
def test_focal_losses_are_those_of_the_loops(ours, kind, gamma, weight):
    logits = torch.randn(6, 4, dtype=torch.float64) * 3
    target = torch.tensor([0, 3, 1, 4, 2, 0] if kind == 'sigmoid' else [0, 3, 1, -1, 2, 0])
    loop = {'sigmoid': oracle.sigmoid_focal, 'softmax': oracle.softmax_focal}[kind]
    wanted = torch.tensor(loop(logits.tolist(), target.tolist(), weight, gamma, 0.3),
                          dtype=torch.float64)
    factors = weight and torch.tensor(weight, dtype=torch.float64)
    found = both(kind, logits, target, gamma, 0.3, factors)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    assert both(kind, logits, target, gamma, 0.3, factors, 'mean').item() == pytest.approx(
        wanted.sum().item() / 6)


@pytest.mark.parametrize('weight', WEIGHTS)
@pytest.mark.parametrize('gamma', [0.0, 0.5, 1.0, 2.0])
def test_gradients_of_focal_losses_are_those_of_autograd(ours, gamma, weight):
    factors = weight and torch.tensor(weight, dtype=torch.float64)
    logits = (torch.randn(6, 4, dtype=torch.float64) * 3).requires_grad_()
    target = torch.tensor([0, 3, 1, 2, 2, 0])
    row = 1 if factors is None else factors[target]
    hit = F.one_hot(target, 4).double()
    p = logits.sigmoid()
    plain = -(0.3 * hit * (1 - p)**gamma * p.log()
              + 0.7 * (1 - hit) * p**gamma * (1 - p).log()).sum(1)
    p = logits.softmax(1)[range(6), target]
    for kind, loss in (('sigmoid', plain), ('softmax', -0.3 * (1 - p)**gamma * p.log())):
        wanted, = torch.autograd.grad((loss * row).sum(), logits)
        found, = torch.autograd.grad(
            both(kind, logits, target, gamma, 0.3, factors, 'sum'), logits)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_focal_losses_by_hand(ours):
    logits = torch.tensor([[0.0, math.log(3)]])  # sigmoids 1/2 and 3/4; softmax 1/4 and 3/4
    found = both('sigmoid', logits, torch.tensor([1]), 2.0, 0.25, None)
    wanted = [-0.75 * 0.5**2 * math.log(0.5), -0.25 * 0.25**2 * math.log(0.75)]
    torch.testing.assert_close(found, torch.tensor([wanted]))
    found = both('softmax', logits, torch.tensor([0]), 2.0, 0.25, None)
    torch.testing.assert_close(found, torch.tensor([-0.25 * 0.75**2 * math.log(0.25)]))


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16, torch.float32])
def test_sure_answers_have_finite_losses_and_gradients(ours, dtype):
    logits = torch.tensor([[60.0, -60], [-60, 60]], dtype=dtype, requires_grad=True)
    loss = both('sigmoid', logits, torch.tensor([0, 0]), 2.0, 0.25, None)
    # right: 0; wrong by 60: 60 times 0.25 for the target, 0.75 for the other
    torch.testing.assert_close(loss, torch.tensor([[0.0, 0], [15, 45]], dtype=dtype))
    grad, = torch.autograd.grad(loss.sum(), logits)
    torch.testing.assert_close(grad, torch.tensor([[0.0, 0], [-0.25, 0.75]], dtype=dtype))


@pytest.mark.parametrize('gamma', [0.5, 2.0])
def test_softmax_gradient_at_probability_1_is_0(ours, gamma):
    logits = torch.tensor([[200.0, 0]], requires_grad=True)
    grad, = torch.autograd.grad(both('softmax', logits, torch.tensor([0]), gamma, 0.25, None,
                                     'sum'), logits)
    assert grad.tolist() == [[0, 0]]


@pytest.mark.parametrize('kind', ['sigmoid', 'softmax'])
def test_no_rows(ours, kind):
    logits = torch.zeros(0, 4, requires_grad=True)
    loss = both(kind, logits, torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, 'sum')
    assert loss.item() == 0
    assert torch.autograd.grad(loss, logits)[0].shape == (0, 4)


def test_sigmoid_focal_loss_is_mmdets_form_on_the_cpu(ours):
    losses = pytest.importorskip('mmdet.models.losses.focal_loss')
    logits = (torch.randn(50, 4) * 10).requires_grad_()
    target = torch.randint(5, (50,))
    wanted = losses.py_sigmoid_focal_loss(logits, F.one_hot(target, 5)[:, :4], reduction='none')
    found = both('sigmoid', logits, target, 2.0, 0.25, None)
    torch.testing.assert_close(found, wanted)
    pairs = [torch.autograd.grad(loss.sum(), logits)[0] for loss in (found, wanted)]
    torch.testing.assert_close(*pairs)

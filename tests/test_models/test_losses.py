import pytest
import torch

from clasp_mm.models.losses import (
    DINOLoss,
    average_together,
    gate_entropy,
    importance_load_term,
    load_balance_term,
)
from tests.oracles import losses as oracle


@pytest.mark.parametrize('views', [2, 5, 10])
@pytest.mark.parametrize('student_temp, teacher_temp', [(0.1, 0.04), (0.2, 0.07)])
@pytest.mark.parametrize('momentum', [0.9, 0.5, 0.0])
def test_dino_loss_equals_the_pairwise_form_over_steps(views, student_temp, teacher_temp, momentum):
    torch.manual_seed(views)
    images = torch.randn(views, 3, 6, dtype=torch.float64)
    fast, slow = torch.nn.Linear(6, 7).double(), torch.nn.Linear(6, 7).double()
    slow.load_state_dict(fast.state_dict())
    teacher = torch.nn.Linear(6, 7).double()
    loss = DINOLoss(7, student_temp, momentum).double()
    center = torch.zeros(7, dtype=torch.float64)
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.5) for net in (fast, slow)]
    for _ in range(3):
        target = 3 * teacher(images[:2]).detach()
        value = loss(fast(images), target, teacher_temp)
        expected = oracle.dino_loss(slow(images), target, center, student_temp, teacher_temp)
        torch.testing.assert_close(value, expected)
        for net_loss, optimizer in zip((value, expected), optimizers, strict=True):
            optimizer.zero_grad()
            net_loss.backward()
            optimizer.step()
        loss.update_center(target)
        center = oracle.dino_center(center, target, momentum)
        torch.testing.assert_close(loss.center, center)
        torch.testing.assert_close(fast.weight, slow.weight)


@pytest.mark.parametrize('views', [2, 4])
def test_sinkhorn_targets_equal_the_loops_and_replace_the_centre(views):
    torch.manual_seed(views)
    student = torch.randn(views, 3, 7, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 3, 7, dtype=torch.float64)
    loss = DINOLoss(7, centering='sinkhorn_knopp').double()
    loss.update_center(teacher + 5)
    target = oracle.sinkhorn_knopp(teacher.view(6, 7) / 0.3).view(2, 3, 7)
    torch.testing.assert_close(loss.targets(teacher, 0.3), target)
    # log p as the teacher of the pairwise form gives back p
    expected = oracle.dino_loss(student, target.log(), torch.zeros(7), 0.1, 1.0)
    torch.testing.assert_close(loss(student, teacher, 0.3), expected)
    grads = [torch.autograd.grad(value, student)[0]
             for value in (loss(student, teacher, 0.3), expected)]
    torch.testing.assert_close(*grads)


def test_sinkhorn_uses_every_prototype_where_the_centre_lets_one_win():
    torch.manual_seed(0)
    teacher = 0.02 * torch.randn(2, 64, 16) + torch.linspace(0, 1, 16)
    usage = {centering: DINOLoss(16, centering=centering).targets(teacher, 0.01).mean((0, 1))
             for centering in ('mean', 'sinkhorn_knopp')}
    assert usage['mean'].max() > 0.9
    assert usage['sinkhorn_knopp'].max() < 2 / 16 and usage['sinkhorn_knopp'].min() > 0.5 / 16


def test_dino_loss_names_an_unknown_centering():
    with pytest.raises(ValueError, match="'sinkhorn'"):
        DINOLoss(4, centering='sinkhorn')


def test_dino_loss_stays_finite_at_extreme_logits():
    student = torch.full((3, 2, 5), 30.0, requires_grad=True)
    value = DINOLoss(5)(student, torch.tensor([1e4, 0, 0, 0, 0]).expand(2, 2, 5), 0.04)
    value.backward()
    assert value.isfinite() and student.grad.isfinite().all()
    torch.testing.assert_close(value, torch.tensor(5.0).log(), rtol=1e-4, atol=1e-4)


def test_dino_loss_refuses_views_that_cannot_be_paired():
    with pytest.raises(ValueError, match='1 student and 1 teacher'):
        DINOLoss(4)(torch.zeros(1, 2, 4), torch.zeros(1, 2, 4), 0.04)


def _gates(batch, n, k, stages, seed):
    torch.manual_seed(seed)
    probs, gates = [], []
    for _ in range(stages):
        logits = torch.randn(batch, n, dtype=torch.float64, requires_grad=True)
        top = logits.topk(k, 1)
        probs.append(logits.softmax(1))
        gates.append(torch.zeros_like(logits).scatter(1, top.indices, top.values.softmax(1)))
    return probs, gates


def load_balance(probs, gates, task):
    return average_together(load_balance_term(torch.stack(probs), torch.stack(gates), task, 3))[0]


@pytest.mark.parametrize('n, k', [(1, 1), (4, 1), (6, 3), (5, 5)])
@pytest.mark.parametrize('tasks', [[0] * 6, [0, 0, 1, 2, 1, 0], [2, 2, 2, 1, 1, 1]])
def test_load_balance_equals_its_definition(n, k, tasks):
    probs, gates = _gates(6, n, k, stages=2, seed=n)
    task = torch.tensor(tasks)
    value = load_balance(probs, gates, task)
    expected = oracle.load_balance_loss(probs, gates, task, k)
    torch.testing.assert_close(value, expected)
    grads = torch.autograd.grad(value, probs, retain_graph=True)
    for grad, other in zip(grads, torch.autograd.grad(expected, probs), strict=True):
        torch.testing.assert_close(grad, other)


def importance_load(gates, load, task):
    return average_together(importance_load_term(torch.stack(gates), torch.stack(load),
                                                 task, 3))[0]


@pytest.mark.parametrize('n, k', [(1, 1), (4, 1), (6, 3), (5, 5)])
@pytest.mark.parametrize('tasks', [[0] * 6, [0, 0, 1, 2, 1, 0], [2, 2, 2, 1, 1, 1]])
def test_importance_and_load_equal_their_definition(n, k, tasks):
    load, gates = _gates(6, n, k, stages=2, seed=n)
    task = torch.tensor(tasks)
    value = importance_load(gates, load, task)
    expected = oracle.importance_load_loss(gates, load, task)
    torch.testing.assert_close(value, expected)
    grads = torch.autograd.grad(value, load + gates, retain_graph=True)
    for grad, other in zip(grads, torch.autograd.grad(expected, load + gates), strict=True):
        torch.testing.assert_close(grad, other)


def test_importance_and_load_by_hand():
    """Importances 1.2, 0.6, 0.2, mean 2/3: CV^2 0.379. Loads 2, 1, 1, mean 4/3: CV^2 0.125."""
    gates, load = torch.tensor([[.7, .3, 0], [.5, .3, .2]]), torch.tensor([[1., 1, 0], [1, 0, 1]])
    value = importance_load([gates], [load], torch.tensor([1, 1]))
    assert value.item() == pytest.approx(.38 + .125, abs=1e-6)
    # The term of the paper sees the same in both: three quarters and a quarter or half and half.
    task, uneven, even = torch.zeros(4).long(), torch.tensor([[.75, .25]] * 4), torch.full((4, 2),
                                                                                           .5)
    assert load_balance([uneven], [uneven], task) == load_balance([even], [even], task) == 1
    assert importance_load([uneven], [torch.ones(4, 2)], task).item() == .25


def test_autocast_does_not_round_the_counts_of_the_balance():
    """1 + 2**-9 needs ten bits of mantissa, bfloat16 has eight: 512 of 513 images and one other."""
    task = torch.zeros(513, dtype=torch.long)
    chosen = torch.zeros(513, 2).index_fill_(1, torch.tensor(0), 1.)
    chosen[0] = torch.tensor([0., 1.])
    with torch.autocast('cpu', torch.bfloat16):
        value = load_balance([chosen], [chosen], task)
    assert value.item() == pytest.approx(2 * (512 / 513 * 512 / 513 + 1 / 513 / 513), rel=1e-6)


def test_load_balance_is_one_when_even_and_n_over_k_when_collapsed():
    even = torch.full((4, 4), 0.25)
    one_each = torch.eye(4)
    task = torch.zeros(4, dtype=torch.long)
    torch.testing.assert_close(load_balance([even], [one_each], task), torch.tensor(1.))
    collapsed = torch.tensor([[1., 0, 0, 0]]).repeat(4, 1)
    torch.testing.assert_close(
        load_balance([collapsed], [collapsed], task), torch.tensor(4.))
    entropies = average_together(
        gate_entropy(torch.stack([even, even])), gate_entropy(collapsed[None]))
    torch.testing.assert_close(torch.stack(entropies), torch.tensor([1., 0.]))

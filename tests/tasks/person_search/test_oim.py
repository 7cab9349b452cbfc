import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F

from clasp_mm.engine.launch import leave_together
from clasp_mm.models.losses.oim import UNLABELLED, OIMLoss
from tests.oracles import oim as oracle
from tests.two_at_once import spread


def people(count, seed, identities=6, unlabelled=0.4):
    generator = torch.Generator().manual_seed(seed)
    features = F.normalize(torch.randn(count, 5, generator=generator, dtype=torch.double), dim=1)
    pids = torch.randint(identities, (count, ), generator=generator)
    pids[torch.rand(count, generator=generator) < unlabelled] = UNLABELLED
    return features, pids


@pytest.mark.parametrize('counts, unlabelled', [((7, 9, 4), .4), ((12, ) * 4, .9), ((5, 5), 0.),
                                                ((3, 0, 3), 1.), ((40, ), .6)])
def test_loss_gradients_and_state_equal_the_oracle(counts, unlabelled):
    built = OIMLoss(6, 4, channels=5, scalar=30.).double()
    table, queue, head = [[0.] * 5 for _ in range(6)], [[0.] * 5 for _ in range(4)], 0
    for step, count in enumerate(counts):
        features, pids = people(count, step, unlabelled=unlabelled)
        features.requires_grad_()
        found = built(features, pids)
        exact = features.detach().clone().requires_grad_()
        expected = torch.as_tensor(oracle.loss(
            exact.unbind(), pids.tolist(), torch.tensor(table), torch.tensor(queue), 30.,
            UNLABELLED))
        torch.testing.assert_close(found, expected.to(found), atol=1e-6, rtol=1e-6)
        found.backward()
        if expected.requires_grad:
            expected.backward()
            torch.testing.assert_close(features.grad, exact.grad, atol=1e-6, rtol=1e-5)
        else:
            assert features.grad is None or not features.grad.any()
        head = oracle.update(features.detach().tolist(), pids.tolist(), table, queue, head, 0.5,
                             UNLABELLED)
        torch.testing.assert_close(built.table, torch.tensor(table, dtype=torch.double))
        torch.testing.assert_close(built.queue, torch.tensor(queue, dtype=torch.double))
        assert built.head == head


def test_state_is_saved_and_not_changed_in_evaluation():
    built = OIMLoss(6, 4, channels=5)
    built(people(9, 0)[0].float(), people(9, 0)[1])
    again = OIMLoss(6, 4, channels=5).eval()
    again.load_state_dict(built.state_dict())
    before = {name: value.clone() for name, value in again.state_dict().items()}
    features, pids = people(9, 1)
    value = again(features.float(), pids)
    assert all(torch.equal(before[name], now) for name, now in again.state_dict().items())
    torch.testing.assert_close(value, built(features.float(), pids))


def test_features_that_are_not_finite_do_not_enter():
    built = OIMLoss(6, 4, channels=5)
    features, pids = people(9, 0)
    features[2] = torch.nan
    features[pids == UNLABELLED] = torch.inf
    built(features.float(), pids)
    assert built.table.isfinite().all() and built.table.any() and not built.queue.any()


def test_half_precision_keeps_its_state_in_float32():
    built = OIMLoss(6, 4, channels=5)
    features, pids = people(9, 0)
    value = built(features.bfloat16().requires_grad_(), pids)
    assert value.dtype == built.table.dtype == torch.float32
    torch.testing.assert_close(value, OIMLoss(6, 4, channels=5)(features.float(), pids), atol=.05,
                               rtol=.02)


def test_similarities_are_float32_under_autocast():
    """Thirty times a cosine in bfloat16 has steps of an eighth."""
    values = []
    for amp in (False, True):
        built = OIMLoss(6, 4, channels=5)
        features, pids = people(9, 0)
        features = features.float().requires_grad_()
        with torch.autocast('cpu', torch.bfloat16, enabled=amp):
            loss = built(features, pids)
        values.append((loss, *torch.autograd.grad(loss, features)))
    for one, other in zip(*values, strict=True):
        assert torch.equal(one, other)


def test_a_queue_without_places_is_refused():
    with pytest.raises(ValueError, match='queue_size must be at least 1, got 0'):
        OIMLoss(3, 0)


def test_wrong_identities_name_the_way_out():
    with pytest.raises(ValueError, match='identity 7 in a table of 6: set num_identities'):
        OIMLoss(6, 4, channels=5)(torch.zeros(2, 5), torch.tensor([7, UNLABELLED]))
    with pytest.raises(ValueError, match=r'in 1\.\.5555'):
        OIMLoss(5556, 4)


def _process(rank, out):
    dist.init_process_group('gloo', init_method=f'file://{out}/meet', rank=rank, world_size=2)
    built, losses = OIMLoss(6, 4, channels=5).double(), []
    for step in range(3):
        features, pids = people(11, step)
        part = slice(0, 4) if rank == 0 else slice(4, 11)
        loss = built(features[part], pids[part])
        dist.all_reduce(loss)
        losses.append(loss / 2)
    torch.save((built.state_dict(), losses), f'{out}/{rank}.pt')
    leave_together()


def test_two_processes_with_unequal_shares_hold_what_one_does(tmp_path):
    spread(_process, str(tmp_path), count=2)
    one = OIMLoss(6, 4, channels=5).double()
    losses = [one(*people(11, step)) for step in range(3)]
    for rank in range(2):
        state, found = torch.load(tmp_path / f'{rank}.pt')
        for name, value in one.state_dict().items():
            torch.testing.assert_close(state[name], value)
        torch.testing.assert_close(torch.stack(found), torch.stack(losses))

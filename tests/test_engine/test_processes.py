"""Several processes, accumulation, autocast and recomputation against one plain large batch."""

import os
import sys
from contextlib import ExitStack
from copy import deepcopy
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from mmengine.optim import build_optim_wrapper

from clasp_mm.engine import HealthHook, ProbeHook
from clasp_mm.engine.launch import leave_together
from tests.test_engine.test_probe_hook import folder, make_model  # noqa: F401
from tests.test_models.test_pretrain import (
    PARTS,
    SIZES,
    make_clasp,
    make_dino,
    make_importance,
)
from tests.test_models.test_solider import make as make_solider
from tests.test_tools import CONFIG, shell
from tests.two_at_once import spread

GLOBAL_BATCHES = (8, 8, 4)  # the last one uneven with the others


def make_batches():
    """Batches with rejected images, most of them in the first quarter."""
    generator = torch.Generator().manual_seed(3)
    for number, size in enumerate(GLOBAL_BATCHES):
        views = [torch.randn(size, 3, 32, 16, generator=generator) for _ in range(2)]
        views += [torch.randn(size, 3, 16, 8, generator=generator) for _ in range(2)]
        part_map = torch.randint(0, PARTS, (size, 2, 8, 4), generator=generator)
        attr_target = torch.stack(
            [torch.randint(-1, values, (size,), generator=generator) for values in SIZES], 1)
        accepted = torch.ones(size, dtype=torch.bool)
        accepted[:size // 4] = False
        part_map[~accepted], attr_target[~accepted] = 255, -1
        yield views, dict(
            part_map=part_map.byte(), attr_target=attr_target, label_accepted=accepted,
            sample_idx=torch.arange(size) + 8 * number, skipped=[''] * size)


def share(batch, rank, world_size):
    """What DefaultSampler gives a process of a batch in order: every world_size-th image."""
    views, samples = batch
    return ([view[rank::world_size] for view in views],
            {name: value[rank::world_size] for name, value in samples.items()})


COLLECTIVES = ('all_reduce', 'all_gather', 'all_gather_into_tensor', 'all_gather_object',
               'broadcast', 'broadcast_object_list', 'reduce', 'reduce_scatter', 'barrier')


def train(make, rank=0, world_size=1):
    """Logged losses of three steps, what was trained and tracked, and each loss's collectives."""
    model = make().eval().double()  # no gate noise
    wrapper = build_optim_wrapper(model, dict(
        type='clasp_mm.DINOOptimWrapper', constructor='clasp_mm.TrainableOptimWrapperConstructor',
        optimizer=dict(type='SGD', lr=0.1)))
    rows, collectives = [], []
    for step, (views, samples) in enumerate(make_batches()):
        model.set_progress(step, 3, epoch=step)
        views, samples = share(([view.double() for view in views], samples), rank, world_size)
        with ExitStack() as stack:
            called = [stack.enter_context(mock.patch.object(dist, name, wraps=getattr(dist, name)))
                      for name in COLLECTIVES]
            loss, logged = model.parse_losses(model.loss(views, samples))
        collectives.append(sum(one.call_count for one in called))
        loss.backward()
        for parameter in model.parameters():  # as DistributedDataParallel
            if parameter.grad is not None and world_size > 1:
                dist.all_reduce(parameter.grad)
                parameter.grad /= world_size
        wrapper.step()
        wrapper.zero_grad()
        model.update_teacher()
        rows.append({name: value.item() for name, value in logged.items()})
    state = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return rows, state, collectives


def _process(rank, world_size, out, make):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{out}/meet', rank=rank,
                            world_size=world_size)
    torch.save(train(make, rank, world_size), f'{out}/{rank}.pt')
    leave_together()


@pytest.mark.slow
@pytest.mark.parametrize('make, expected', [
    (make_clasp, {'loss_dino', 'loss_part', 'loss_attr', 'loss_moe', 'loss'}),
    (make_importance, {'loss_dino', 'loss_part', 'loss_attr', 'loss_moe', 'loss'}),
    (make_solider, {'loss_dino', 'loss_part', 'loss'})])
@pytest.mark.parametrize('world_size', [2, 4])
def test_processes_give_the_losses_of_one_with_the_global_batch(
        tmp_path, world_size, make, expected):
    """DINO's centre, the balance loss, the teacher and uneven rejections included."""
    rows, state, _ = train(make)
    spread(_process, world_size, str(tmp_path), make, count=world_size)
    for rank in range(world_size):
        its_rows, its_state, collectives = torch.load(tmp_path / f'{rank}.pt', weights_only=True)
        assert collectives == [2] * 3  # what the losses need, and the logged values
        for row, its_row in zip(rows, its_rows, strict=True):
            assert set(row) >= expected
            assert its_row == pytest.approx(row, rel=1e-6)  # logged values are float32
        torch.testing.assert_close(its_state, state, rtol=1e-5, atol=1e-8)  # gates are float32
    assert 0 < rows[0]['accepted'] < 1 and rows[0]['loss_part'] > 0


def _look(rank, world_size, out, labelled):
    """What the hooks that watch a run find: health of 12 images, features of a folder."""
    torch.set_num_threads(1)
    if world_size > 1:
        dist.init_process_group('gloo', init_method=f'file://{out}/meet_hooks', rank=rank,
                                world_size=world_size)
    clasp = make_clasp().eval()
    images = torch.randn(12, 3, 32, 16, generator=torch.Generator().manual_seed(3))
    hook = HealthHook()
    hook.model = clasp
    stats = hook.statistics(images[rank::world_size])
    features, known = ProbeHook(labelled, size=(32, 16), batch_size=3).embed(make_model().eval())
    torch.save(dict(stats=stats, features=torch.from_numpy(features),
                    known=torch.from_numpy(known)), f'{out}/hooks_{rank}_of_{world_size}.pt')
    leave_together()


@pytest.mark.slow
def test_hooks_that_watch_see_the_images_of_all_processes(tmp_path, folder):  # noqa: F811
    """Three processes share 33 images (one cannot be read) and 12 views; the same as one."""
    (folder / 'person 2' / 'broken.png').write_bytes(b'no image')
    _look(0, 1, str(tmp_path), str(folder))
    spread(_look, 3, str(tmp_path), str(folder), count=3)
    one, *several = [torch.load(tmp_path / f'hooks_{rank}_of_{world}.pt', weights_only=True)
                     for rank, world in ((0, 1), (0, 3), (1, 3), (2, 3))]
    assert one['known'].sum() == 32 and len(one['known']) == 33
    assert 'largest_expert' in one['stats'] and one['stats']['rank_limit'] == 12
    for its in several:
        assert its['stats'] == pytest.approx(one['stats'], rel=1e-4)
        assert torch.equal(its['known'], one['known'])
        torch.testing.assert_close(its['features'], one['features'], rtol=1e-5, atol=1e-6)


FAILING = CONFIG.replace("dataset=dict(type='TinyData'))\ntest", '''
    dataset=dict(type='FailingData'))
test''').replace('tests.tiny_task', 'tests.failing_data')


@pytest.mark.slow
def test_one_process_that_fails_ends_all_with_its_reason(tmp_path):
    config = tmp_path / 'failing.py'
    config.write_text(FAILING)
    assert 'FailingData' in FAILING
    done = shell('dist_train.sh', config, 2, '--work-dir', tmp_path / 'run', cwd=tmp_path,
                 environment={'PYTHON': sys.executable, 'CUDA_VISIBLE_DEVICES': '-1',
                              'PYTHONPATH': os.getcwd()}, timeout=300)
    assert done.returncode != 0
    assert 'the disk of process 1 has gone' in done.stderr + done.stdout


def gradients(model, loss):
    parameters = [p for p in model.parameters() if p.requires_grad]
    return torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)


def test_accumulated_gradients_are_those_of_the_large_batch_while_the_centre_stands():
    """Exact for DINO without the centre's move: the loss is a mean over images.

    The centre moves at every iteration, so the second part of a batch sees a centre that the large
    batch does not; with center_momentum=1 it stands still. Part, attribute and balance losses are
    means over what each part holds (accepted tokens, kept values, experts' shares), so for them
    accumulation is the mean of such means.
    """
    model = make_dino(center_momentum=1.0).eval().double()
    views, samples = next(make_batches())
    views = [view.double() for view in views]
    whole = gradients(model, model.loss(views, samples)['loss_dino'])
    halves = [gradients(model, model.loss(*share((views, samples), part, 2))['loss_dino'])
              for part in (0, 1)]
    for grad, first, second in zip(whole, *halves, strict=True):
        torch.testing.assert_close((first + second) / 2, grad, rtol=1e-9, atol=1e-12)


def test_bfloat16_stays_near_float32():
    """Within 2 % of the loss and a cosine of 0.98 between the gradients of one step."""
    model = make_clasp().eval()
    views, samples = next(make_batches())
    results = []
    for enabled in (False, True):
        fresh = deepcopy(model)
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            loss, _ = fresh.parse_losses(fresh.loss(views, samples))
        assert loss.dtype == torch.float32
        results.append((loss, torch.cat([g.flatten() for g in gradients(fresh, loss)])))
    (loss, grad), (half_loss, half_grad) = results
    assert abs(half_loss - loss) < 0.02 * loss
    assert not torch.equal(half_grad, grad)
    assert torch.cosine_similarity(half_grad, grad, 0) > 0.98


def test_activation_checkpointing_changes_nothing(monkeypatch):
    """Drop path and gate noise included: the forward pass is repeated with its own draws."""
    views, samples = next(make_batches())
    results = []
    for with_cp in (False, True):
        model = make_clasp()
        for module in model.backbone.modules():
            if hasattr(module, 'drop_prob'):
                module.drop_prob = 0.5
        model.backbone.with_cp = with_cp
        model.train()
        torch.manual_seed(5)
        loss, _ = model.parse_losses(model.loss(views, samples))
        results.append((loss, gradients(model, loss)))
    assert torch.equal(results[0][0], results[1][0])
    assert all(torch.equal(a, b) for a, b in zip(results[0][1], results[1][1], strict=True))

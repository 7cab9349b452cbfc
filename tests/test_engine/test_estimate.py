import json
import os
import time
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from mmengine.runner import Runner

from clasp_mm.compat import load_file, prepare_cpu_distributed
from clasp_mm.engine import estimate as module
from clasp_mm.engine import label_cost
from clasp_mm.engine.estimate import describe, estimate, largest_batch
from tests.test_engine.test_teacher_hook import make_config, people  # noqa: F401
from tests.test_pseudo_labels.fakes import make_labeler
from tests.two_at_once import spread


def test_figures_are_those_of_the_run(people, tmp_path):  # noqa: F811
    cfg = make_config(people, tmp_path / 'run')
    cfg.default_hooks.checkpoint = dict(type='mmengine.CheckpointHook', interval=1,
                                        max_keep_ckpts=2)
    before = cfg.to_dict()
    report = estimate(cfg, steps=2)
    assert cfg.to_dict() == before
    # the work directory holds the report and nothing else
    assert [path.name for path in (tmp_path / 'run').iterdir()] == ['estimate.json']
    assert json.loads((tmp_path / 'run/estimate.json').read_text()) == report
    assert (report['steps'], report['images'], report['batch_size']) == (6, 8, 4)
    assert report['labelling'] is None and report['advised_batch_size'] is None

    Runner.from_cfg(cfg).train()
    checkpoint = load_file(tmp_path / 'run/epoch_3.pth')
    tensors = [*checkpoint['state_dict'].values()]
    for state in checkpoint['optimizer']['state'].values():
        tensors += [value for value in state.values() if isinstance(value, torch.Tensor)]
    exact = sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**30
    assert report['checkpoint_gib'] == pytest.approx(exact, rel=0.01)
    assert report['disk_gib'] == pytest.approx(3 * exact + 6 * module.LOG_LINE / 2**30, rel=0.01)


def test_disk_of_checkpoints_by_iterations(people, tmp_path):  # noqa: F811
    """Six steps, one checkpoint every second: three, and one while it is written."""
    cfg = make_config(people, tmp_path / 'run')
    cfg.default_hooks.checkpoint = dict(type='mmengine.CheckpointHook', interval=2, by_epoch=False)
    report = estimate(cfg, steps=2)
    assert report['disk_gib'] == pytest.approx(
        4 * report['checkpoint_gib'] + 6 * module.LOG_LINE / 2**30, rel=.01)


@pytest.mark.parametrize('where', ['step', 'data'])
def test_slow_steps_and_slow_data_count(people, tmp_path, monkeypatch, where):  # noqa: F811
    from clasp_mm.datasets import LUPerson
    from clasp_mm.models import DINO
    owner, name = (DINO, 'train_step') if where == 'step' else (LUPerson, '__getitem__')
    original = getattr(owner, name)

    def slow(self, *args, **kwargs):
        time.sleep(0.6 if where == 'step' else 0.15)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, slow)
    report = estimate(make_config(people, tmp_path / 'run'), steps=1)
    assert report['seconds_per_step'] >= 0.6  # four images a batch
    assert report['hours'] * 3600 == pytest.approx(6 * report['seconds_per_step'])


def test_workers_that_cannot_keep_up_are_the_bottleneck(people, tmp_path, monkeypatch):  # noqa: F811
    first = module._Measured(step=0.1, fetch=0.2, steps=5, max_steps=100, max_epochs=1,
                             images=400, peak=2**30, checkpoint=2**20)
    cfg = make_config(people, tmp_path / 'run', **{'train_dataloader.num_workers': 2})
    monkeypatch.setattr(module.os, 'sched_getaffinity', lambda _: range(8))
    report = {**module._report(cfg, 4, first, None, []), 'advised_batch_size': None}
    assert report['seconds_per_step'] == pytest.approx(4 * 0.2 / 2)
    assert 'more workers' in describe(report)
    fast = module._report(cfg, 4, first._replace(fetch=0.01), None, [])
    assert fast['seconds_per_step'] == 0.1


def clasp_config(people, work_dir, labels):  # noqa: F811
    cfg = make_config(people, work_dir)
    cfg.model.update(
        type='clasp_mm.CLASP', part_head=dict(type='clasp_mm.PartSegHead', in_channels=16,
                                              num_classes=4),
        attr_head=dict(type='clasp_mm.AttrHead', in_channels=16, attribute_sizes=(2, 3)),
        stage1='work_dirs/not/there.pth')
    cfg.model.backbone.moe = dict(num_experts=4, top_k=2, expert_hidden=4)
    cfg.train_dataloader.dataset.pipeline.insert(
        0, dict(type='clasp_mm.CLIPPseudoLabeler', **labels))
    return cfg


def test_missing_labels_are_timed_and_not_needed(people, tmp_path, monkeypatch):  # noqa: F811
    labeler, seen = make_labeler(), []

    def slow(images, names):
        seen.append(list(names))
        time.sleep(0.1 * len(names))

    monkeypatch.setattr(labeler, 'label', slow)
    monkeypatch.setattr(label_cost, 'stand_in_labeler', lambda cfg, device: labeler)
    report = estimate(clasp_config(people, tmp_path / 'run', dict(store='no/store')), steps=1)
    assert len(seen[-1]) == 4 and all(name.endswith('.jpg') for name in seen[-1])
    assert report['labelling']['hours'] == pytest.approx(8 * 0.1 / 3600, rel=0.2)
    text = describe(report)
    assert "'no/store' is missing" in text and 'not/there.pth' in text


def test_stand_in_labeler_is_of_the_default_size(monkeypatch):
    open_clip = pytest.importorskip('open_clip')
    from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY
    from tests.test_models.test_pretrain import BACKBONE
    built = []

    class Small(torch.nn.Module):

        def __init__(self):
            super().__init__()
            self.logit_scale = torch.nn.Parameter(torch.zeros(()))
            self.visual = type('Visual', (), dict(image_size=(32, 32)))()

        def encode_image(self, x):
            return x.mean((2, 3))

        def encode_text(self, tokens):
            return tokens[:, :3].float()

    monkeypatch.setattr(open_clip, 'create_model',
                        lambda *args, **kwargs: built.append((args, kwargs)) or Small())
    from mmengine.config import Config
    backbone = dict(BACKBONE, arch=dict(embed_dims=8, depths=(1, 1, 1), num_heads=(1, 2, 2)),
                    strides=(4, 2, 2), out_indices=(2,), moe=dict(num_experts=4, top_k=2))
    labeler = label_cost.stand_in_labeler(Config(dict(model=dict(backbone=backbone))), 'cpu')
    assert built == [(('ViT-B-32',), dict(pretrained=None, device='cpu'))]
    labels = labeler.label(torch.randint(0, 255, (2, 3, 64, 32), dtype=torch.uint8), ['a', 'b'])
    assert labels.accepted(0., -1.).all()
    assert labels.attr_value.shape[1] == len(DEFAULT_VOCABULARY.attributes)


@pytest.mark.parametrize(('small', 'large', 'memory', 'batch'), [
    ((8, 30.), (16, 50.), 100., 32),   # 10 + 2.5 a image: 36 fit
    ((8, 30.), (16, 50.), 55., 16),    # 18 fit, 16 is measured
    ((2, 30.), (4, 50.), 60., 5),
    ((8, 50.), (16, 50.), 100., 16),   # no growth seen: what was measured
    ((8, 30.), (16, 50.), 49., 8),     # 15.6 fit
])
def test_largest_batch_by_two_measurements(small, large, memory, batch):
    assert largest_batch(small, large, memory) == batch


def test_no_step_is_no_estimate(people, tmp_path):  # noqa: F811
    with pytest.raises(ValueError, match='at least one step'):
        estimate(make_config(people, tmp_path), steps=0)


def out_of_memory(where, largest):
    """Methods of DINO; that named ``where`` has no memory for more than ``largest`` images."""
    from clasp_mm.models import DINO
    forward, original = DINO.forward, getattr(DINO, where)

    def remember(self, inputs, *args, **kwargs):
        self.batch_size = len(inputs[0])
        return forward(self, inputs, *args, **kwargs)

    def fail(self, *args, **kwargs):
        if getattr(self, 'batch_size', 0) > largest:
            raise torch.cuda.OutOfMemoryError('no room')
        return original(self, *args, **kwargs)

    return {where: fail, 'forward': remember}


def test_a_batch_that_does_not_fit_is_halved(people, tmp_path, monkeypatch):  # noqa: F811
    from clasp_mm.models import DINO
    for name, method in out_of_memory('loss', 2).items():
        monkeypatch.setattr(DINO, name, method)
    report = estimate(make_config(people, tmp_path / 'run'), steps=1)
    assert report['batch_size'] == 2 and report['steps'] == 12
    assert 'a batch of 4 does not fit the GPU' in describe(report)


def _estimate(rank, people, out, where):  # noqa: F811
    """One of two processes, of which the first has no memory for more than 2 images."""
    from clasp_mm.models import DINO
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2')
    dist.init_process_group('gloo', init_method=f'file://{out}/meet', rank=rank, world_size=2)
    module.WARMUP, module._PATIENCE = 0, timedelta(seconds=5)
    if rank == 0:
        for name, method in out_of_memory(where, 2).items():
            setattr(DINO, name, method)
    cfg = make_config(people, out / 'run')
    cfg.launcher = 'pytorch'
    prepare_cpu_distributed(cfg)
    try:
        told = estimate(cfg, steps=1)['batch_size']
    except (ValueError, RuntimeError) as error:
        told = f'{type(error).__name__}: {error}'
    (out / f'{rank}.json').write_text(json.dumps(told))


@pytest.mark.slow
@pytest.mark.parametrize('where', ['loss', 'update_teacher'])
def test_no_room_in_one_process_ends_or_halves_all(people, tmp_path, where):  # noqa: F811
    """Within the step the other waits for it; after the last one both go on with 2 images."""
    spread(_estimate, people, tmp_path, where, count=2)
    first, second = (json.loads((tmp_path / f'{rank}.json').read_text()) for rank in range(2))
    if where == 'loss':
        assert first.startswith('ValueError: a batch of 4 does not fit the GPU of process 0')
        assert 'train_dataloader.batch_size=2' in first
        assert second.startswith('RuntimeError')  # the first has gone
    else:
        assert first == second == 2

"""SOLIDER through the runner: finite, repeatable, resumable, published and swapped in."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

import clasp_mm
from clasp_mm.registry import MODELS
from clasp_mm.zoo.publish import publish_model
from tests.test_engine.test_exact_resume import losses, make, resume, train
from tests.test_engine.test_teacher_hook import people, read_scalars  # noqa: F401

ARCH = dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2))
BACKBONE = dict(type='clasp_mm.SemanticSwin', arch=ARCH, strides=(4, 2), window_size=4,
                out_indices=(0, 1))
SOLIDER = {
    'model.type': 'clasp_mm.SOLIDER',
    'model.backbone': dict(BACKBONE, _delete_=True),
    'model.part_head': dict(type='clasp_mm.PartSegHead', in_channels=8, num_classes=4, in_index=0),
    'model.min_foreground': 0.2}


def make_solider(people, work_dir, watched=False, **kwargs):  # noqa: F811
    cfg = make(people, work_dir, **SOLIDER, **kwargs)
    cfg.model.backbone.drop_path_rate = 0.5
    if watched:
        cfg.custom_hooks = [*cfg.custom_hooks[:-1], dict(type='clasp_mm.HealthHook', interval=1),
                            dict(type='clasp_mm.TaskConflictHook', interval=1),
                            cfg.custom_hooks[-1]]
    return cfg


@pytest.fixture(scope='module')
def whole(people, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp('solider') / 'run'
    runner = train(make_solider(people, folder, watched=True))
    return folder, runner.model


def test_losses_are_finite_and_every_part_of_it_trains(whole):
    rows = [row for row in read_scalars(whole[0]) if 'loss' in row]
    assert len(rows) == 8
    assert all(math.isfinite(row[name]) for row in rows for name in ('loss_dino', 'loss_part'))
    assert any(row['loss_part'] > 0 and row['accepted'] > 0 for row in rows)
    conflict = [row for row in read_scalars(whole[0]) if 'conflict/gcr' in row]
    assert conflict and all(0 <= row['conflict/gcr'] <= 1 for row in conflict)
    state = whole[1].state_dict()
    fresh = MODELS.build(dict(BACKBONE))  # a new controller is neutral and equal everywhere
    for name, value in fresh.state_dict().items():
        if name.startswith('semantic_embed_'):
            assert not torch.equal(state[f'backbone.{name}'], value), name
    assert state['part_head.classifier.bias'].abs().sum() > 0


def test_it_is_repeatable_and_the_hooks_that_watch_change_nothing(people, whole, tmp_path):  # noqa: F811
    train(make_solider(people, tmp_path / 'run'))
    assert losses(tmp_path / 'run') == losses(whole[0])


@pytest.mark.parametrize('stop_at', [3, 5])
def test_a_resumed_run_is_the_run_in_one_go(people, whole, tmp_path, stop_at):  # noqa: F811
    run = tmp_path / 'run'
    with pytest.raises(KeyboardInterrupt):
        train(make_solider(people, run, stop_at=stop_at))
    resume(make_solider(people, run))
    assert losses(run) == losses(whole[0])


def test_its_teacher_goes_into_a_downstream_config_by_one_line(whole, tmp_path):
    folder, model = whole
    published = publish_model(folder / 'iter_8.pth', 'mini', tmp_path)
    images = torch.randn(2, 3, 64, 32)
    expected = model.teacher.backbone(images, 0.2)[-1]
    torch.testing.assert_close(
        clasp_mm.get_model(published, semantic_weight=0.2)(images)[-1], expected)

    cfg = Config.fromfile(Path(__file__).parents[2] / 'configs' / 'quickstart' /
                          'reid_transreid_pcmoe-swin-nano_1xb32_synthetic-64x32.py')
    cfg.merge_from_dict({'model.backbone': dict(
        _delete_=True, type='clasp_mm.SemanticSwin', arch=ARCH, strides=(4, 2), window_size=4,
        out_indices=(1,), semantic_weight=0.2,
        init_cfg=dict(type='Pretrained', checkpoint=str(published)))})
    cfg.model.head.in_channels = 16  # of this small backbone
    reid = MODELS.build(dict(cfg.model, _scope_='mmpretrain'))
    reid.init_weights()
    torch.testing.assert_close(reid.backbone.eval()(images)[-1], expected)

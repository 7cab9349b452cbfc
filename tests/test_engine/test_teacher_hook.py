import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from clasp_mm.compat import allow_mmengine_checkpoints
from clasp_mm.synthetic import SyntheticPeople, write_people
from tests.oracles import losses as oracle


@pytest.fixture(scope='module')
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp('people')
    write_people(folder, SyntheticPeople(2, 4, seed=5, size=(64, 32)), workers=1, progress=False)
    (folder / 'images/0000/0000003.jpg').write_bytes(b'no image')
    return folder


def make_config(people, work_dir, **changes):
    cfg = Config(dict(
        default_scope='mmpretrain', work_dir=str(work_dir),
        experiment_name=str(work_dir).replace('/', '_'),
        model=dict(
            type='clasp_mm.DINO', momentum=0.9, teacher_temp=0.07, warmup_teacher_temp_epochs=2,
            backbone=dict(type='clasp_mm.PCMoESwin', moe=None, window_size=4, drop_path_rate=0.,
                          arch=dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2)),
                          strides=(4, 2), out_indices=(1,)),
            head=dict(type='clasp_mm.DINOHead', in_channels=16, out_dim=12, hidden_dim=16,
                      bottleneck_dim=8),
            data_preprocessor=dict(type='clasp_mm.ViewPreprocessor', mean=[120.] * 3,
                                   std=[60.] * 3, bgr_to_rgb=True)),
        train_dataloader=dict(
            batch_size=4, num_workers=0, collate_fn=dict(type='default_collate'),
            sampler=dict(type='mmengine.DefaultSampler', shuffle=True),
            dataset=dict(type='clasp_mm.LUPerson', data_root=str(people), ann_file='list.txt',
                         pipeline=[dict(type='clasp_mm.MultiCrop', global_size=(32, 16),
                                        local_size=(16, 8), num_local=2),
                                   dict(type='clasp_mm.PackViews')])),
        train_cfg=dict(type='mmengine.EpochBasedTrainLoop', max_epochs=3),
        optim_wrapper=dict(type='clasp_mm.DINOOptimWrapper',
                           constructor='clasp_mm.TrainableOptimWrapperConstructor',
                           optimizer=dict(type='AdamW', lr=1e-3),
                           paramwise_cfg=dict(flat_decay_mult=0.)),
        default_hooks=dict(logger=dict(type='mmengine.LoggerHook', interval=1)),
        custom_hooks=[dict(type='clasp_mm.TeacherHook'), dict(type='clasp_mm.SkippedImagesHook')],
        randomness=dict(seed=0)))
    cfg.merge_from_dict(changes)
    return cfg


def read_scalars(work_dir):
    path, = work_dir.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_schedules_skipped_images_and_the_teacher_in_a_run(people, tmp_path):
    allow_mmengine_checkpoints()
    runner = Runner.from_cfg(make_config(people, tmp_path / 'run'))
    runner.train()
    rows = read_scalars(tmp_path / 'run')
    assert [row['teacher_temp'] for row in rows] == pytest.approx([.04, .04, .07, .07, .07, .07])
    assert [row['teacher_momentum'] for row in rows] == pytest.approx(
        [1 - oracle.cosine(.1, 0, step, 6) for step in range(6)])
    assert all(row['images_per_second'] > 0 and np.isfinite(row['loss_dino']) for row in rows)
    names = (tmp_path / 'run/skipped_images.txt').read_text().split()
    assert names == ['images/0000/0000003.jpg']
    moved = [torch.equal(a, b) for a, b in zip(runner.model.backbone.parameters(),
                                               runner.model.teacher.backbone.parameters(),
                                               strict=True) if a.requires_grad]
    assert not any(moved)


def test_a_resumed_run_keeps_the_names_of_skipped_images(people, tmp_path):
    runner = Runner.from_cfg(make_config(people, tmp_path / 'run', **{'train_cfg.max_epochs': 1}))
    runner.train()
    (tmp_path / 'run/skipped_images.txt').write_text('an earlier one.jpg\n')
    runner = Runner.from_cfg(make_config(people, tmp_path / 'run', resume=True))
    runner.train()
    assert (tmp_path / 'run/skipped_images.txt').read_text().splitlines() == [
        'an earlier one.jpg', 'images/0000/0000003.jpg']


def test_optimizer_has_no_teacher_parameter(people, tmp_path):
    runner = Runner.from_cfg(make_config(people, tmp_path / 'run'))
    wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    mine = {id(p) for group in wrapper.param_groups for p in group['params']}
    names = {n for n, p in runner.model.named_parameters() if id(p) in mine}
    assert names == {n for n, p in runner.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize('counts, expected', [
    # 1 - 0.1 (1 + cos(pi step / steps)) / 2: three steps of 2 batches; one of 4 and one of 2
    (2, [.9, .9, .925, .925, .975, .975]),
    (4, [.9, .9, .9, .9, .95, .95])])
def test_accumulation_advances_by_optimizer_steps(people, tmp_path, counts, expected):
    runner = Runner.from_cfg(make_config(
        people, tmp_path / 'run', **{'optim_wrapper.accumulative_counts': counts}))
    runner.train()
    momentum = [row['teacher_momentum'] for row in read_scalars(tmp_path / 'run')]
    assert momentum == pytest.approx(expected)


def test_one_seed_reproduces_a_run(people, tmp_path):
    losses = []
    for name in ('first', 'second'):
        Runner.from_cfg(make_config(people, tmp_path / name)).train()
        losses.append([row['loss_dino'] for row in read_scalars(tmp_path / name)])
    assert losses[0] == losses[1]

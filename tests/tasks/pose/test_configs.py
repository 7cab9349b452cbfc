import math
import re

import numpy as np
import pytest

pytest.importorskip('mmpose', reason='needs mmpose: bash tools/setup.sh')

import torch
from mmengine.config import Config
from mmpose.registry import MODELS, TRANSFORMS

from clasp_mm.engine.config_check import check_config
from clasp_mm.utils.resources import shipped_file

from .conftest import QUICKSTART

CONFIGS = sorted(shipped_file('configs/pose').glob('*.py'))
# Learning rate, weight decay and milestones of SOLIDER's pose estimators (their published configs).
SOLIDER = {'tiny': (7e-4, 0., [170, 200]), 'small': (1e-3, .01, [170, 200]),
           'base': (1e-3, .01, [120, 150])}


@pytest.mark.parametrize('path', [*CONFIGS, shipped_file(QUICKSTART)], ids=lambda path: path.stem)
def test_full_size_model_maps_the_input_to_the_heatmaps_of_its_codec(path):
    cfg = Config.fromfile(path)
    check_config(cfg)
    width, height = cfg.codec.input_size
    cfg.model.backbone.init_cfg = None
    with torch.device('meta'):
        model = MODELS.build(cfg.model).eval()
        heatmaps = model(torch.empty(2, 3, height, width), None, mode='tensor')
    assert heatmaps.shape == (2, cfg.model.head.out_channels, *cfg.codec.heatmap_size[::-1])
    assert model.backbone.task == 'part' and model.backbone.has_moe
    assert path.stem.endswith(f'{height}x{width}')


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_name_says_size_batch_and_length(path):
    cfg = Config.fromfile(path)
    arch, gpus, batch, epochs = re.search(r'swin-(\w+?)_(\d+)xb(\d+)-(\d+)e_', path.stem).groups()
    backbone = cfg.model.backbone
    assert backbone.arch == arch and f'swin-{arch}_' in backbone.init_cfg.checkpoint
    assert cfg.train_dataloader.batch_size == int(batch)
    assert cfg.auto_scale_lr.base_batch_size == int(gpus) * int(batch)
    assert cfg.train_cfg.max_epochs == int(epochs) == cfg.param_scheduler[1].end
    evaluator = cfg.test_evaluator
    assert evaluator.type == 'CocoMetric' and cfg.model.test_cfg.flip_test
    assert evaluator.ann_file == cfg.data_root + cfg.test_dataloader.dataset.ann_file
    assert cfg.test_dataloader.dataset.bbox_file.startswith(cfg.data_root)


@pytest.mark.parametrize('arch', SOLIDER)
def test_recipe_is_soliders(arch):
    path, = (path for path in CONFIGS if f'{arch}_' in path.name and '384x288' in path.name)
    cfg = Config.fromfile(path)
    optimizer = cfg.optim_wrapper.optimizer
    warmup, steps = cfg.param_scheduler
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay, steps.milestones) == (
        'AdamW', *SOLIDER[arch])
    assert (warmup.end, warmup.by_epoch) == (11710, False)
    assert cfg.model.backbone.drop_path_rate == 0 and cfg.codec.sigma == 2


def draws(path, count=4000):
    """Shift in boxes, size in boxes and angle of a person without keypoints, by a pipeline."""
    pipeline = Config.fromfile(path).train_dataloader.dataset.pipeline
    steps = [TRANSFORMS.build(step) for step in pipeline if 'BBox' in step.type]
    rows = []
    for _ in range(count):  # a box of 100 x 200 around (0, 0), padded by the pipeline
        person = dict(bbox=np.array([[-50, -100, 50, 100]], np.float32))
        for step in steps:
            person = step(person)
        rows.append([*person['bbox_center'][0] / (100, 200), person['bbox_scale'][0, 0] / 125,
                     person['bbox_rotation'][0]])
    return np.array(rows)


@pytest.mark.parametrize('arch', SOLIDER)
def test_draws_are_soliders(arch):
    """30 % are shifted by U(-0.2, 0.2) of the box; clip(N(1, 0.5), 0.5, 1.5) is its size; 60 % are
    turned by clip(N(0, 40), -80, 80) degrees.

    Shift: variance 0.4^2 / 12 = 0.1155^2. Size: |N(0, 1)| > 1 with 0.3173, and the variance of N
    clipped at 1 is 0.3173 + 0.1987 = 0.5161, so deviation 0.5 x 0.7184 = 0.359. Angle: |N| > 2 with
    0.0455, variance of N clipped at 2 is 4 x 0.0455 + 0.7385 = 0.9205, so 40 x 0.9594 = 38.4.
    """
    path, = (path for path in CONFIGS if f'{arch}_' in path.name and '384x288' in path.name)
    np.random.seed(0)
    *shift, size, angle = draws(path).T
    for side in shift:
        moved = side[side != 0]
        assert len(moved) / len(side) == pytest.approx(.3, abs=.03)
        assert moved.std() == pytest.approx(.1155, rel=.04) and np.abs(moved).max() <= .2
        assert (np.abs(moved) > .15).mean() == pytest.approx(.25, abs=.05)  # not bell-shaped
    assert size.std() == pytest.approx(.359, rel=.03)
    assert ((size < .5001) | (size > 1.4999)).mean() == pytest.approx(.3173, abs=.03)
    assert (size.min(), size.max()) == pytest.approx((.5, 1.5))
    turned = angle[angle != 0]
    assert len(turned) / len(angle) == pytest.approx(.6, abs=.03)
    assert turned.std() == pytest.approx(38.4, rel=.03)
    assert np.abs(turned).max() == pytest.approx(80) and turned.mean() == pytest.approx(0, abs=2.5)


def test_half_a_body_replaces_the_shifted_box():
    """By SOLIDER's order: shift, flip, half of the body, size and angle."""
    pipeline = Config.fromfile(CONFIGS[0]).train_dataloader.dataset.pipeline
    assert [step.type for step in pipeline if step.get('shift_prob') or 'Half' in step.type
            or step.type.startswith('clasp_mm')] == [
        'clasp_mm.ClippedBBoxTransform', 'RandomHalfBody', 'clasp_mm.ClippedBBoxTransform']
    half = next(step for step in pipeline if step.type == 'RandomHalfBody')
    # numpy.random.randn() < 0.5 takes the upper half
    assert half.upper_prioritized_prob == pytest.approx((1 + math.erf(.5 / 2**.5)) / 2, abs=1e-4)


def test_no_weight_decay_on_relative_position_tables_and_prompts():
    from mmengine.optim import build_optim_wrapper
    cfg = Config.fromfile(shipped_file(QUICKSTART))
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    spared = {id(value) for name, value in model.named_parameters()
              if name.endswith(('.relative_position_bias_table', '.prompts'))}
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    decays = {id(value): group['weight_decay'] for group in groups for value in group['params']}
    assert {decay for key, decay in decays.items() if key in spared} == {0.}
    assert {decay for key, decay in decays.items() if key not in spared} == {.01}
    assert spared <= set(decays)


@pytest.mark.parametrize('path', [*CONFIGS, shipped_file(QUICKSTART)], ids=lambda path: path.stem)
def test_a_step_takes_nothing_to_numpy(path):
    """As NumPy has no bfloat16, the command of the README would end in its first step."""
    from mmengine.structures import InstanceData, PixelData
    from mmpose.structures import PoseDataSample
    cfg = Config.fromfile(path)
    model = MODELS.build(dict(type='mmpose.TopdownPoseEstimator', backbone=dict(
        type='clasp_mm.PCMoESwin', task='part',
            arch=dict(embed_dims=8, depths=(1, ), num_heads=(1, )),
        strides=(4, ), out_indices=(0, )), head=dict(
            type='HeatmapHead', in_channels=8, out_channels=17, deconv_out_channels=None,
            loss=dict(type='KeypointMSELoss')), train_cfg=cfg.model.get('train_cfg')))
    sample = PoseDataSample()
    sample.gt_instance_labels = InstanceData(keypoint_weights=torch.ones(1, 17))
    sample.gt_fields = PixelData(heatmaps=torch.rand(17, 8, 8))
    with torch.autocast('cpu'):
        losses = model(torch.randn(1, 3, 32, 32), [sample], mode='loss')
    assert set(losses) == {'loss_kpt'} and losses['loss_kpt'].isfinite()

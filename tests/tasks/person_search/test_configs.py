from pathlib import Path

import pytest
import torch

pytest.importorskip('mmdet', reason='needs mmdet: bash tools/setup.sh')
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from clasp_mm.engine.config_check import check_config

ROOT = Path(__file__).parents[3] / 'configs'
CONFIGS = sorted([*(ROOT / 'person_search').glob('*.py'),
                  *(ROOT / 'quickstart').glob('person_search_*.py')])


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_read_whole_and_builds_at_full_size(path):
    cfg = Config.fromfile(path)
    check_config(cfg)
    with DefaultScope.overwrite_default_scope('mmdet'), torch.device('meta'):
        model = MODELS.build(cfg.model)
        width, height = cfg.size
        (features, ) = model.extract_feat(torch.zeros(1, 3, height // 16 * 16, width // 16 * 16))
        channels = cfg.model.roi_head.bbox_roi_extractor.out_channels
        assert features.shape[1:] == (channels, height // 16, width // 16)
        side = cfg.model.roi_head.bbox_roi_extractor.roi_layer.output_size
        sides = (side, side) if isinstance(side, int) else side
        for stage in model.roi_head.stages:
            regions = stage(torch.zeros(3, channels, *sides), model.roi_head.prompts[0])
            assert regions.shape == (3, 2 * channels, sides[0] // 2, sides[1] // 2)
    # One shared network and two last stages, in the quickstart one: no copy that nothing reads.
    blocks = [name for name, _ in model.named_parameters() if '.blocks.0.norm1.weight' in name]
    assert len(blocks) == 3 + (1 if 'synthetic' in path.stem else 2)
    idle = [name for name, one in model.named_parameters() if not one.requires_grad]
    assert all(name.startswith(('backbone.norm0', 'backbone.norm1')) for name in idle)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_names_and_prompts_say_what_the_config_does(path):
    cfg = Config.fromfile(path)
    assert f'pcmoe-swin-{cfg.model.backbone.arch}_1xb{cfg.train_dataloader.batch_size}' in path.stem
    assert tuple(cfg.model.backbone.task) == ('appearance', 'part')
    assert tuple(cfg.model.roi_head.tasks) == ('part', 'appearance')
    if 'synthetic' not in path.stem:
        prw = '_prw-' in path.stem
        assert f'-{18 if prw else 20}e_' in path.stem
        assert cfg.train_cfg.max_epochs == cfg.param_scheduler[1].end == (18 if prw else 20)
        oim = cfg.model.roi_head.loss_oim
        assert (oim.num_identities, oim.queue_size) == ((483, 500) if prw else (5532, 5000))
        for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
            assert loader.dataset.type == ('clasp_mm.PRW' if prw else 'clasp_mm.CUHKSYSU')
            assert loader.dataset.data_root == ('data/prw/' if prw else 'data/cuhk_sysu/')
        assert cfg.default_hooks.checkpoint.get('save_best') is None


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_recipe_is_the_published_one(path):
    """Numbers of SeqNet's and SOLIDER's code and of the torchvision 0.8 below them."""
    cfg = Config.fromfile(path)
    pool = cfg.model.roi_head.bbox_roi_extractor.roi_layer
    assert (pool.aligned, pool.sampling_ratio) == (False, 2)
    assert cfg.model.data_preprocessor.pad_size_divisor == 32
    assert [stage.sampler.add_gt_as_proposals for stage in cfg.model.train_cfg.rcnn] == [True] * 2
    anchors = cfg.model.train_cfg.rpn.assigner
    assert (anchors.pos_iou_thr, anchors.neg_iou_thr, anchors.min_pos_iou) == (.7, .3, 1e-3)
    assert cfg.train_dataloader.drop_last
    if 'synthetic' not in path.stem:
        assert pool.output_size == 14
        assert cfg.model.rpn_head.loss_bbox.beta == 1 / 9
        assert [(stage.sampler.num, stage.sampler.pos_fraction, stage.assigner.pos_iou_thr,
                 stage.assigner.neg_iou_thr) for stage in cfg.model.train_cfg.rcnn] == [
                     (128, .5, .5, .5)] * 2
        assert cfg.optim_wrapper.optimizer == dict(
            type='SGD', lr=3e-4, momentum=.9, weight_decay=5e-4)
        assert cfg.optim_wrapper.clip_grad.max_norm == 10
        assert cfg.param_scheduler[1].milestones == [16] and cfg.param_scheduler[1].gamma == .1
        oim = cfg.model.roi_head.loss_oim
        assert (oim.momentum, oim.scalar) == (.5, 30)
        assert cfg.size == (1500, 900)
        assert not cfg.train_pipeline[2].clip_object_border

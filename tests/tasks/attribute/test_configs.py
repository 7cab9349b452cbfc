import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope, init_default_scope
from mmpretrain.registry import MODELS, TRANSFORMS
from PIL import Image
from torchvision.transforms import Resize

from clasp_mm.engine.config_check import check_config
from clasp_mm.utils.resources import shipped_file

from .test_training import QUICKSTART

CONFIGS = sorted(shipped_file('configs/attribute').glob('*.py'))
COUNTS = {'pa100k': 26, 'peta-zs': 35, 'rap-zs': 53}


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')
    yield
    DefaultScope._instance_dict.clear()


def test_every_size_has_every_data_set():
    names = {(arch, data) for arch in ('tiny', 'small', 'base') for data in COUNTS}
    assert names == {re.search(r'swin-(\w+)_1xb64-30e_(.+)-\d+x', path.stem).groups()
                     for path in CONFIGS}


@pytest.mark.parametrize('path', [*CONFIGS, shipped_file(QUICKSTART)], ids=lambda path: path.stem)
def test_full_size_model_gives_a_logit_for_each_attribute(path):
    cfg = Config.fromfile(path)
    check_config(cfg)
    height, width = cfg.size
    cfg.model.backbone.init_cfg = None
    with torch.device('meta'):
        model = MODELS.build(cfg.model).eval()
        logits = model(torch.empty(2, 3, height, width))
    data = next((name for name in COUNTS if name in path.stem), 'pa100k')
    assert logits.shape == (2, COUNTS[data])
    assert model.backbone.task == 'attribute' and model.backbone.has_moe
    assert path.stem.endswith(f'{height}x{width}')
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        resize = loader.dataset.pipeline[1]
        assert (resize.type, resize.scale) == ('Resize', (width, height))
    assert cfg.train_dataloader.dataset.pipeline[2].crop_size == (height, width)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_recipe(path):
    """RethinkPAR as SOLIDER runs it: Adam 1e-5, 30 epochs of 64, clip 10, pad 10; two schedules.

    Of SOLIDER's yaml: PETA 'multistep' with LR_STEP; PA100k and RAP2 'plateau' (RAP2's LR_STEP is
    not read); WEIGHT_DECAY 0 for PA100k, 5e-4 for the others; no drop path, the last batch dropped.
    """
    cfg = Config.fromfile(path)
    zero_shot = '-zs-' in path.stem
    arch = re.search(r'swin-(\w+?)_', path.stem)[1]
    assert cfg.model.backbone.arch == arch
    assert f'swin-{arch}_' in cfg.model.backbone.init_cfg.checkpoint
    assert cfg.optim_wrapper.optimizer == dict(type='Adam', lr=1e-5,
                                               weight_decay=5e-4 if zero_shot else 0.)
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=10)
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (30, 1)
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 64
    assert cfg.train_dataloader.drop_last and cfg.model.backbone.drop_path_rate == 0
    kinds = [step.type for step in cfg.train_dataloader.dataset.pipeline]
    assert kinds == ['LoadImageFromFile', 'Resize', 'RandomCrop', 'RandomFlip', 'PackInputs']
    assert cfg.train_dataloader.dataset.pipeline[2].padding == 10
    scheduler, = cfg.param_scheduler
    if 'peta' in path.stem:
        assert (scheduler.type, scheduler.milestones) == ('MultiStepLR', [10, 15])
    else:
        assert (scheduler.type, scheduler.factor, scheduler.patience) == (
            'ReduceOnPlateauLR', .1, 4)
        assert scheduler.monitor == 'attribute/bce'


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_validation_selects_and_test_does_not(path):
    cfg = Config.fromfile(path)
    assert [loader.dataset.split for loader in (
        cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader)] == ['train', 'val', 'test']
    assert cfg.default_hooks.checkpoint.save_best == 'attribute/mA'
    hook, = (hook for hook in cfg.custom_hooks if hook.type == 'clasp_mm.AttributeHook')
    assert hook.select_on_test is False
    roots = {loader.dataset.data_root for loader in (
        cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader)}
    assert len(roots) == 1


@pytest.mark.parametrize('part', ['train', 'test'])
def test_images_are_resized_as_torchvision_does(part):
    cfg = Config.fromfile(CONFIGS[0])
    image = np.random.default_rng(0).integers(0, 256, (430, 170, 3), np.uint8)
    resize = TRANSFORMS.build(cfg[f'{part}_pipeline'][1])
    found = resize(dict(img=image, img_shape=image.shape[:2]))['img']
    assert (found == np.asarray(Resize(cfg.size)(Image.fromarray(image)))).all()


def test_layer_decay_and_prompt_learn():
    cfg = Config.fromfile(shipped_file(QUICKSTART))
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    cfg.optim_wrapper.update(constructor='clasp_mm.LayerDecayOptimWrapperConstructor',
                             paramwise_cfg=dict(decay_rate=.5))
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    rates = {id(value): group['lr'] for group in optimizer.param_groups
             for value in group['params']}
    stem, head = model.backbone.patch_embed.projection.weight, model.head.fc.weight
    assert rates[id(head)] == pytest.approx(5e-4)
    assert rates[id(stem)] < rates[id(model.backbone.stages[3].blocks[0].norm1.weight)] < 5e-4

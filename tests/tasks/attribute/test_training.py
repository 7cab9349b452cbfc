"""Whole runs on drawn people by the quickstart's config."""

import json
import runpy
import shutil
import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from clasp_mm.compat import allow_mmengine_checkpoints, load_file
from clasp_mm.engine.launch import set_resume
from clasp_mm.evaluation.functional import attribute_metrics
from clasp_mm.inferencers import attribute as inference
from clasp_mm.synthetic import PA100K_ATTRIBUTES
from clasp_mm.utils.resources import shipped_file
from tests.source_tree import ROOT

QUICKSTART = 'configs/quickstart/attribute_pcmoe-swin-nano_1xb32_synthetic-64x32.py'
TINY = dict(embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2))


@pytest.fixture(autouse=True)
def fresh_scope():
    allow_mmengine_checkpoints()
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture
def cfg(pa100k, tmp_path):
    """A tiny model, 3 steps an epoch; no augmentation, so that a resumed run can be compared."""
    cfg = Config.fromfile(shipped_file(QUICKSTART))
    cfg.model.backbone.update(arch=TINY, init_cfg=None)
    cfg.model.head.in_channels = 64
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.batch_size = 4
        loader.dataset.data_root = str(pa100k)
    cfg.test_dataloader.dataset.split = 'test'  # which the quickstart does not draw
    cfg.train_dataloader.dataset.pipeline = cfg.test_pipeline
    cfg.train_cfg.update(max_epochs=3, val_interval=1)
    # Any loss is a plateau to it: each validation divides the learning rate.
    cfg.param_scheduler = [dict(type='ReduceOnPlateauLR', monitor='attribute/bce', rule='less',
                                factor=.5, patience=0, threshold=.9)]
    cfg.default_hooks.checkpoint.max_keep_ckpts = -1
    cfg.launcher, cfg.work_dir = 'none', str(tmp_path / 'run')
    return cfg


def weights(path):
    return load_file(path)['state_dict']


def samples_to_test(cfg):
    from mmengine.registry import init_default_scope
    from mmpretrain.registry import DATASETS
    init_default_scope('mmpretrain')
    return DATASETS.build(cfg.test_dataloader.dataset)


def test_a_validation_set_of_one_image_does_not_end_the_run(cfg, tmp_path, monkeypatch):
    """No attribute has both values there: mA is NaN, and no epoch is the best."""
    lines = []
    monkeypatch.setattr(MMLogger, 'callHandlers', lambda self, record: lines.append(
        record.getMessage()))
    cfg.val_dataloader.dataset.indices = 1
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert (tmp_path / 'run/epoch_3.pth').is_file() and not list(tmp_path.glob('run/best_*'))
    assert np.isnan(runner.message_hub.get_scalar('val/attribute/mA').current())
    for words in ('mA is NaN: none of 26 attributes', 'attribute/mA is NaN, so this is no best'):
        assert sum(words in line for line in lines) == 3


@pytest.mark.parametrize('rule', [pytest.param('greater', marks=pytest.mark.slow), 'less'])
def test_a_resumed_run_is_the_run_in_one_go(cfg, tmp_path, rule):
    """Where an epoch was not the best, MMEngine's checkpoint knows nothing of its validation."""
    cfg.default_hooks.checkpoint.update(save_best='attribute/bce', rule=rule)
    runner = Runner.from_cfg(cfg)
    runner.train()
    whole, validated = weights(tmp_path / 'run/epoch_3.pth'), []
    for epoch in (1, 2, 3):
        name, checkpoint = f'again{epoch}', tmp_path / f'run/epoch_{epoch}.pth'
        again = Config(dict(cfg, work_dir=str(tmp_path / name), experiment_name=name))
        validated.append(load_file(checkpoint)['meta']['validated'] == epoch)
        set_resume(again, str(checkpoint))
        resumed = Runner.from_cfg(again)
        resumed.train()
        for key, value in resumed.model.state_dict().items():
            assert torch.equal(value, whole[key]), key
        assert resumed.optim_wrapper.get_lr() == runner.optim_wrapper.get_lr() != dict(lr=[3e-3])
    # the loss of people never seen rises: best at each epoch by one rule, at the first by the other
    assert validated == [True, rule == 'greater', rule == 'greater']


def test_validation_begins_where_the_config_says(cfg, monkeypatch):
    cfg.train_cfg.update(max_epochs=3, val_interval=1, val_begin=3)
    runner, validated = Runner.from_cfg(cfg), []
    monkeypatch.setattr(type(runner.build_val_loop(cfg.val_cfg)), 'run',
                        lambda loop: validated.append(loop.runner.epoch))
    runner.train()
    assert validated[0] == 3


def test_a_run_from_training_to_the_test_set(cfg, pa100k, tmp_path, monkeypatch):
    """Ratios, validation, best checkpoint, tools/test.py, inference and demo."""
    runner = Runner.from_cfg(cfg)
    runner.train()
    data = runner.train_dataloader.dataset
    labels = np.stack([data[index]['data_samples'].gt_score for index in range(len(data))])
    np.testing.assert_allclose(runner.model.head.positive_ratios, labels.mean(0), rtol=1e-6)
    assert runner.val_dataloader.dataset.split == 'val'
    best, = (tmp_path / 'run').glob('best_attribute_mA_epoch_*.pth')

    config = tmp_path / 'attribute.py'
    cfg.dump(config)
    monkeypatch.setattr(sys, 'argv', [
        'test.py', str(config), str(best), '--work-dir', str(tmp_path / 'test'), '--out',
        str(tmp_path / 'scores')])
    runpy.run_path(str(ROOT / 'tools/test.py'), run_name='__main__')
    scores = json.loads((tmp_path / 'scores/metrics.json').read_text())
    assert 'attribute/selected_on_test' not in scores

    model = inference.load(config, best)
    assert model.dataset_meta['classes'] == PA100K_ATTRIBUTES
    names = sorted((pa100k / 'data').glob('test_*'))
    images = [cv2.imread(str(path)) for path in names]
    results = inference.predict(model, images)
    found = np.stack([one['probabilities'] for one in results])
    expected = attribute_metrics(found, np.stack([one['data_samples'].gt_score.numpy() for one
                                                  in samples_to_test(cfg)]))
    for name in ('mA', 'accuracy', 'F1'):
        assert scores[f'attribute/{name}'] == pytest.approx(expected[name])
    assert scores['attribute/mA/Female'] == pytest.approx(expected['per_attribute']['mA'][0],
                                                          nan_ok=True)

    monkeypatch.setattr(sys, 'argv', [
        'demo.py', 'attribute', *map(str, names[:2]), '--config', str(config), '--checkpoint',
        str(best), '--out', str(tmp_path / 'demo')])
    runpy.run_path(str(ROOT / 'tools/demo.py'), run_name='__main__')
    entries = json.loads((tmp_path / 'demo/predictions.json').read_text())
    np.testing.assert_allclose([one['probabilities'] for one in entries], found[:2], atol=6e-4)
    assert entries[0]['attributes'] == [
        name for name, score in zip(PA100K_ATTRIBUTES, found[0], strict=True) if score > .5]
    picture = cv2.imread(str(tmp_path / f'demo/{names[0].name}'))
    assert picture.shape[0] == 27 * 16 and picture.shape[1] > 27 * 8


def test_picture_has_a_line_for_each_attribute_that_is_there():
    image = np.full((64, 32, 3), 128, np.uint8)
    scores = np.linspace(.95, .05, 10)
    picture = inference.draw(image, dict(probabilities=scores), [f'name {i}' for i in range(10)])
    panel = picture[:, round(32 * picture.shape[0] / 64):]
    inked = (panel < 250).any(axis=(1, 2))
    lines = [inked[8 + 16 * row:8 + 16 * (row + 1)].any() for row in range(10)]
    assert lines == [True] * 5 + [False] * 5
    assert np.abs(picture[:, :80].astype(int) - 128).max() < 3
    widths = [(panel[14 + 16 * row] < 250).any(axis=1).sum() for row in range(5)]
    assert widths == sorted(widths, reverse=True) and widths[0] > widths[-1]
    nothing = inference.draw(image, dict(probabilities=scores * 0))
    assert (nothing[:, 90:] == 255).all()


def test_test_split_selects_nothing_unless_it_is_said(cfg):
    cfg.val_dataloader.dataset.split = 'test'
    with pytest.raises(ValueError, match=r'select_on_test=True in clasp_mm\.AttributeHook'):
        Runner.from_cfg(cfg).train()


def test_selection_on_test_is_written_into_every_result(cfg, tmp_path):
    cfg.train_dataloader.dataset.split = 'trainval'
    cfg.val_dataloader.dataset.split = 'test'
    hook, = (hook for hook in cfg.custom_hooks if hook.type == 'clasp_mm.AttributeHook')
    hook.select_on_test = True
    cfg.train_cfg.max_epochs = 1
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.message_hub.get_scalar('val/attribute/selected_on_test').current() == 1
    checkpoint, = (tmp_path / 'run').glob('best_*.pth')
    assert load_file(checkpoint)['meta']['selected_on_test'] is True
    hook.select_on_test = False  # forgotten when it is tested
    tester = Runner.from_cfg(Config(dict(cfg, load_from=str(checkpoint), experiment_name='test')))
    assert tester.test()['attribute/selected_on_test'] == 1


def test_images_that_are_trained_on_select_nothing(cfg):
    cfg.train_dataloader.dataset.split = 'trainval'
    with pytest.raises(ValueError, match=r'5 images are both trained on and valid.*trainval'):
        Runner.from_cfg(cfg).train()


@pytest.mark.parametrize('run, loader', [('train', 'train_dataloader'), ('val', 'val_dataloader'),
                                         ('test', 'test_dataloader')])
def test_another_number_of_attributes_stops_before_the_first_step(cfg, run, loader):
    cfg.model.head.num_attributes = 25
    with pytest.raises(ValueError, match=f'{loader}: the data have 26 attributes, the head 25'):
        getattr(Runner.from_cfg(cfg), run)()


def test_another_head(cfg):
    cfg.model.head = dict(type='MultiLabelLinearClsHead', num_classes=26, in_channels=64)
    with pytest.raises(TypeError, match=r'AttributeHead as model\.head, got MultiLabelLinear'):
        Runner.from_cfg(cfg).train()


def test_features_that_are_nan_are_no_score(cfg):
    runner = Runner.from_cfg(cfg)
    torch.nn.init.constant_(runner.model.backbone.norm3.weight, torch.nan)
    with pytest.raises(ValueError, match=r'test_00000\d.jpg: the model gives NaN'):
        runner.test()


def test_a_missing_image_stops_the_run_by_its_name(cfg, pa100k, tmp_path):
    root = shutil.copytree(pa100k, tmp_path / 'copy')
    (root / 'data/val_000002.jpg').unlink()
    cfg.val_dataloader.dataset.data_root = str(root)
    with pytest.raises(FileNotFoundError, match=r'val_000002\.jpg'):
        Runner.from_cfg(cfg).val()


def test_logged_lines_name_what_has_no_positive(cfg, monkeypatch):
    lines = []
    monkeypatch.setattr(MMLogger, 'callHandlers', lambda self, record: lines.append(
        record.getMessage()))
    cfg.test_evaluator.per_attribute = False
    Runner.from_cfg(cfg).test()
    assert any('mA leaves out what has no positive or no negative here: ' in line
               for line in lines)

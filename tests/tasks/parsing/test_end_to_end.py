"""Train by the quickstart's config, test with augmentation, infer, refuse what does not fit."""

import json
import runpy
import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

pytest.importorskip('mmseg', reason='needs mmseg: bash tools/setup.sh')

from mmengine.runner import Runner

from clasp_mm.compat import load_file
from clasp_mm.engine.launch import load_config
from clasp_mm.evaluation.functional import parsing_iou
from clasp_mm.inferencers import parsing
from clasp_mm.inferencers.inferencer import inference
from clasp_mm.synthetic import LIP_PALETTE
from tests.source_tree import ROOT
from tests.tasks.parsing.conftest import draw_people

CONFIG = next((ROOT / 'configs/quickstart').glob('parsing_*.py'))


@pytest.fixture(scope='module')
def lip(tmp_path_factory):
    return draw_people(tmp_path_factory.mktemp('lip'))


@pytest.fixture(scope='module')
def trained(lip, tmp_path_factory):
    """A run of three epochs, with one copy and one cycle; a fourth image is left in every epoch."""
    tmp_path = tmp_path_factory.mktemp('trained')
    torch.manual_seed(0)
    options = {'model.backbone.init_cfg': None, 'train_dataloader.batch_size': 3}
    options |= {f'{split}_dataloader.dataset.data_root': str(lip)
                for split in ('train', 'val', 'test')}
    cfg = load_config(str(CONFIG), str(tmp_path / 'run'), options=options)
    cfg.train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=3)
    cfg.custom_hooks[-1].update(start=1, interval=2)
    cfg.param_scheduler = []
    file = tmp_path / 'config.py'
    cfg.dump(file)
    Runner.from_cfg(cfg).train()
    return file, tmp_path / 'run/epoch_3.pth'


def test_from_training_to_pictures(lip, trained, tmp_path, monkeypatch):
    config, checkpoint = trained
    assert any(name.startswith('module.') for name in load_file(checkpoint)['ema_state_dict'])
    model = parsing.load(config, checkpoint)
    images = [cv2.imread(str(lip / f'val_images/{index}.jpg')) for index in range(2)]
    truth = [cv2.imread(str(lip / f'TrainVal_parsing_annotations/val_segmentations/{index}.png'),
                        cv2.IMREAD_GRAYSCALE) for index in range(2)]
    results = parsing.predict(model, images)
    assert all(result['labels'].shape == (40, 24) and result['labels'].dtype == np.uint8
               for result in results)
    expected = parsing_iou([result['labels'] for result in results], truth, 20)

    scores = {}
    for extra in ((), ('--tta', )):
        out = tmp_path / 'scores'
        monkeypatch.setattr(sys, 'argv', ['test.py', str(config), str(checkpoint), '--work-dir',
                                          str(tmp_path / 'test'), '--out', str(out), *extra])
        runpy.run_path(str(ROOT / 'tools/test.py'), run_name='__main__')
        scores[extra] = json.loads((out / 'metrics.json').read_text())
    assert scores[()]['mIoU'] == pytest.approx(expected['mIoU'], abs=.0051)  # it rounds to 0.01
    assert scores[()]['aAcc'] == pytest.approx(expected['pixel_accuracy'], abs=.0051)
    assert 0 < scores[('--tta', )]['aAcc'] <= 100

    labels = np.zeros((40, 24), np.uint8)
    labels[:, 12:] = 5
    picture = parsing.draw(images[0], dict(labels=labels))
    assert picture.dtype == np.uint8
    mixed = .4 * images[0][:, 12:] + .6 * np.array(LIP_PALETTE[5][::-1])
    assert np.abs(picture[:40, 12:24] - mixed).max() <= 1
    legend = picture[40:].reshape(-1, 3).tolist()
    assert all(list(colour[::-1]) in legend for colour in LIP_PALETTE[1:])
    nothing = parsing.draw(images[0], dict(labels=0 * labels))
    assert nothing.shape == picture.shape and (nothing[40:57] != picture[40:57]).any()

    inference('parsing', lip / 'val_images/0.jpg', config, checkpoint, out_dir=tmp_path / 'demo')
    entries = json.loads((tmp_path / 'demo/predictions.json').read_text())
    assert entries == [dict(file='0.jpg', frame=None, labels='0_labels.png')]
    drawn = cv2.imread(str(tmp_path / 'demo/0_labels.png'), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(drawn, results[0]['labels'])


@pytest.mark.parametrize('change, words', [
    ('arch', 'of another shape: backbone'), ('head', r'missing: decode_head\.conv_seg'),
    ('backbone', 'it holds a backbone alone')])
def test_weights_that_do_not_fit_are_refused(trained, tmp_path, change, words):
    config, checkpoint = trained
    content = load_file(checkpoint)
    if change == 'arch':
        cfg = Config.fromfile(config)
        cfg.model.backbone.arch = dict(embed_dims=16, depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8))
        cfg.model.decode_head.in_channels = [16, 32, 64, 128]
        config = tmp_path / 'changed.py'
        cfg.dump(config)
    elif change == 'head':
        del content['state_dict']['decode_head.conv_seg.weight']
    else:
        content['state_dict'] = {name: value for name, value in content['state_dict'].items()
                                 if name.startswith('backbone.')}
    torch.save(content, tmp_path / 'changed.pth')
    with pytest.raises(ValueError, match=words):
        parsing.load(config, tmp_path / 'changed.pth')

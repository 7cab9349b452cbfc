"""A few steps on real photographs with true labels (three of CIHP's, whose classes are LIP's)."""

import os

import cv2
import pytest
from mmengine.config import Config

from tests.source_tree import ROOT

pytest.importorskip('mmseg', reason='needs mmseg: bash tools/setup.sh')

from mmengine.runner import Runner

from clasp_mm.evaluation.functional import parsing_iou
from clasp_mm.inferencers import parsing

PEOPLE = ROOT / os.environ.get('CLASP_REAL_PEOPLE', '../shared/data/real_people') / 'cihp'


@pytest.mark.slow
@pytest.mark.skipif(not PEOPLE.is_dir(), reason=f'no photographs at {PEOPLE} (CLASP_REAL_PEOPLE)')
def test_parts_are_learnt_from_photographs(tmp_path):
    cfg = Config.fromfile(next((ROOT / 'configs/quickstart').glob('parsing_*.py')))
    files = sorted((PEOPLE / 'images').glob('*.jpg'))
    names = tmp_path / 'names.txt'
    names.write_text(''.join(f'{file.stem}\n' for file in files))
    size, steps = (128, 192), 150
    cfg.train_dataloader.batch_size = len(files)
    cfg.train_dataloader.dataset.update(
        data_root='', ann_file=str(names),
        data_prefix=dict(img_path=str(PEOPLE / 'images'), seg_map_path=str(PEOPLE / 'labels')))
    cfg.model.data_preprocessor.size = size
    cfg.train_dataloader.dataset.pipeline[3].size = cfg.test_pipeline[1].size = size
    cfg.model.backbone.init_cfg = None
    cfg.optim_wrapper.optimizer.lr = 2e-3
    cfg.train_cfg = dict(by_epoch=True, max_epochs=steps)
    cfg.param_scheduler = [dict(type='CosineAnnealingLR', T_max=steps, eta_min_ratio=0.05)]
    cfg.custom_hooks = []
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=steps)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
    cfg.work_dir = str(tmp_path / 'run')
    cfg.dump(tmp_path / 'config.py')
    runner = Runner.from_cfg(cfg)
    runner.train()
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert losses[-10:].mean() < .6 * losses[:3].mean()

    model = parsing.load(tmp_path / 'config.py', tmp_path / f'run/epoch_{steps}.pth')
    found = parsing.predict(model, [cv2.imread(str(file)) for file in files])
    truth = [cv2.imread(str(PEOPLE / f'labels/{file.stem}.png'), cv2.IMREAD_GRAYSCALE)
             for file in files]
    scores = parsing_iou([result['labels'] for result in found], truth, 20)
    assert scores['pixel_accuracy'] > 75 and scores['iou'][2] > 50  # hair

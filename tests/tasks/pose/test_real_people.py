"""Fine-tuning on real photographs, where some are at hand."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('mmpose', reason='needs mmpose: bash tools/setup.sh')

from mmengine.config import Config
from mmengine.runner import Runner

from clasp_mm.compat import allow_mmengine_checkpoints
from clasp_mm.inferencers import pose
from clasp_mm.utils.resources import shipped_file
from tests.source_tree import ROOT

from .conftest import QUICKSTART

PHOTOS = Path(os.environ.get('CLASP_REAL_PEOPLE', ROOT.parent / 'shared/data/real_people'),
              'mmpose/coco')


@pytest.mark.slow
@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f'no photographs at {PHOTOS}')
def test_a_nano_learns_a_dozen_people_by_heart(tmp_path):
    """150 steps from random weights; keypoints are then found within a tenth of the box."""
    allow_mmengine_checkpoints()
    cfg = Config.fromfile(shipped_file(QUICKSTART))
    data = dict(data_root=str(PHOTOS), ann_file='test_coco.json', data_prefix=dict(img=''))
    plain = [step for step in cfg.train_dataloader.dataset.pipeline if 'Random' not in step.type]
    cfg.merge_from_dict(dict(
        work_dir=str(tmp_path), model=dict(backbone=dict(init_cfg=None)),
        train_dataloader=dict(batch_size=12, dataset=dict(**data, pipeline=plain)),
        val_dataloader=None, val_evaluator=None, val_cfg=None, test_dataloader=None,
        test_evaluator=None, test_cfg=None, train_cfg=dict(max_epochs=150, val_interval=150)))
    cfg.param_scheduler = cfg.param_scheduler[:1]
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=150)
    cfg.test_dataloader = None
    Runner.from_cfg(cfg).train()

    log = next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()
    losses = [json.loads(line)['loss'] for line in log]
    assert losses[-1] < .4 * losses[0]
    config = tmp_path / 'pose.py'
    Config.fromfile(shipped_file(QUICKSTART)).dump(config)
    model = pose.load(config, tmp_path / 'epoch_150.pth')
    content = json.loads((PHOTOS / 'test_coco.json').read_text())
    right = []
    for image in content['images']:
        people = [person for person in content['annotations']
                  if person['image_id'] == image['id'] and person['num_keypoints']]
        boxes = np.array([person['bbox'] for person in people])
        boxes[:, 2:] += boxes[:, :2]
        result, = pose.predict(model, [cv2.imread(str(PHOTOS / image['file_name']))], [boxes])
        for person, found in zip(people, result['keypoints'], strict=True):
            true = np.reshape(person['keypoints'], (17, 3))
            away = np.linalg.norm(found - true[:, :2], axis=1)[true[:, 2] > 0]
            right += (away < .1 * max(person['bbox'][2:])).tolist()
    assert len(right) > 120 and np.mean(right) > .8

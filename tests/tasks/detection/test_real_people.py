"""Fine-tuning on real photographs, where some are at hand."""

import json
import os

import cv2
import pytest

pytest.importorskip('mmdet', reason='needs mmdet: bash tools/setup.sh')

import torch
from mmengine.runner import Runner
from torchvision.ops import box_iou

from clasp_mm.compat import allow_mmengine_checkpoints
from clasp_mm.inferencers.detection import load, predict
from tests.source_tree import ROOT

from .test_configs import named

PHOTOS = ROOT / os.environ.get('CLASP_REAL_PEOPLE', '../shared/data/real_people') / 'mmpose/coco'
STEPS, SIZE = 150, (256, 176)  # width, height


@pytest.mark.slow
@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f'no photographs at {PHOTOS} (CLASP_REAL_PEOPLE)')
def test_a_nano_learns_a_dozen_people_by_heart(tmp_path):
    """150 steps from random weights; most boxes then overlap a found one by more than half."""
    allow_mmengine_checkpoints()
    cfg = named('nano')
    cfg.model.backbone.init_cfg = None
    cfg.model.bbox_head.predict_width = True  # skiers are as wide as high
    data = cfg.train_dataloader.dataset
    data.update(data_root=str(PHOTOS), ann_file='test_coco.json', data_prefix=dict(img=''),
                min_height=60)
    data.pipeline = [step for step in data.pipeline if step['type'] in (
        'LoadImageFromFile', 'LoadAnnotations', 'PackDetInputs')]
    data.pipeline.insert(2, dict(type='Resize', scale=SIZE, keep_ratio=True))
    cfg.test_pipeline[1].scale = SIZE
    cfg.test_dataloader.dataset.pipeline = cfg.test_pipeline
    cfg.train_cfg = dict(type='mmengine.EpochBasedTrainLoop', max_epochs=STEPS)
    cfg.optim_wrapper.optimizer.lr = 2e-3
    cfg.param_scheduler = [dict(type='mmengine.CosineAnnealingLR', T_max=STEPS, eta_min=2e-5)]
    cfg.custom_hooks = []
    cfg.default_hooks.checkpoint = dict(type='mmengine.CheckpointHook', interval=STEPS)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.work_dir = str(tmp_path / 'run')
    cfg.dump(tmp_path / 'config.py')
    cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
    runner = Runner.from_cfg(cfg)
    runner.train()
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert losses[-10:].mean() < .2 * losses[:3].mean()

    model = load(tmp_path / 'config.py', tmp_path / f'run/epoch_{STEPS}.pth')
    content = json.loads((PHOTOS / 'test_coco.json').read_text())
    covered = []
    for image in content['images']:
        found, = predict(model, [cv2.imread(str(PHOTOS / image['file_name']))])
        people = torch.tensor([person['bbox'] for person in content['annotations'] if
                               person['image_id'] == image['id'] and person['num_keypoints']])
        people[:, 2:] += people[:, :2]
        boxes = torch.as_tensor(found['boxes'][found['scores'] > .3])
        if len(boxes):
            covered += box_iou(people, boxes).amax(1).tolist()
    assert sum(overlap > .5 for overlap in covered) > 9  # of 12

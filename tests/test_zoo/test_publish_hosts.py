"""What the hosts' models bring with them when they are published."""

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('mmpose', reason='needs mmpose: bash tools/setup.sh')

from mmengine.config import Config
from mmengine.registry import DefaultScope

import clasp_mm
from benchmarks.inference import random_model
from clasp_mm.compat import load_file
from clasp_mm.utils.resources import shipped_file
from clasp_mm.zoo.publish import publish_model

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 120, 160, 3), np.uint8)


@pytest.fixture(autouse=True)
def fresh_scope():
    """The hosts' functions set the default scope of the process."""
    yield
    DefaultScope._instance_dict.clear()


@pytest.mark.parametrize('task', ['pose', 'parsing', 'detection', 'person_search'])
def test_published_files_predict_and_draw_as_the_checkpoint(task, tmp_path):
    config, checkpoint = random_model(next(shipped_file('configs/quickstart').glob(f'{task}_*.py')),
                                      tmp_path)
    content, cfg = load_file(checkpoint), Config.fromfile(config)
    if task == 'pose':
        from mmpose.datasets.datasets.utils import parse_pose_metainfo
        content['meta'] = dict(dataset_meta=parse_pose_metainfo(
            dict(from_file='configs/_base_/datasets/coco.py')))
        assert isinstance(content['meta']['dataset_meta']['sigmas'], np.ndarray)
    if 'EMAHook' in str(cfg.custom_hooks):
        content['ema_state_dict'] = {}
    torch.save(content, checkpoint)
    path = publish_model(checkpoint, task, tmp_path / 'zoo', config)
    torch.load(path, weights_only=True)
    other, = path.parent.glob('*.safetensors')
    assert load_file(path)['meta'] == load_file(other)['meta']
    runs = {}
    for name, weights in (('run', checkpoint), ('pth', path), ('safetensors', other)):
        runs[name] = clasp_mm.inference(task, list(PICTURES), config, weights, min_score=0.,
                                        out_dir=tmp_path / name)
    for name in ('pth', 'safetensors'):
        for entry, wanted in zip(runs[name], runs['run'], strict=True):
            for key, value in wanted.items():
                np.testing.assert_array_equal(entry[key], value)
        for picture in (tmp_path / 'run').glob('*.jpg'):
            assert (cv2.imread(str(picture)) == cv2.imread(str(tmp_path / name / picture.name))
                    ).all()

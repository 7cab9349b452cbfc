import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('mmdet', reason='needs mmdet: bash tools/setup.sh')
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from clasp_mm.inferencers.detection import draw, load, predict

from .conftest import SIZE, official_box, write_split
from .test_configs import named

STREET = {
    'ulm_000001_000019': [official_box(20, 20, 24, 60), official_box(130, 30, 24, 58)],
    'ulm_000002_000019': [official_box(70, 10, 26, 64), official_box(150, 20, 30, 70, 'rider')],
}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A detector of the quickstart's kind, fitted to two pictures of red boxes."""
    folder = tmp_path_factory.mktemp('detection')
    writer = pytest.MonkeyPatch()
    for kind in (DefaultScope, MMLogger, MessageHub, Visualizer):
        writer.setattr(kind, '_instance_dict', type(kind._instance_dict)())
    torch.manual_seed(0)
    cfg = named('nano')
    cfg.model.backbone.update(
        arch=dict(embed_dims=16, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8)),
        moe=dict(num_experts=2, top_k=1, num_prompts=3, expert_hidden=4), init_cfg=None,
        drop_path_rate=0.)
    cfg.model.neck.update(in_channels=(32, 64, 128), out_channels=32)
    cfg.model.bbox_head.update(in_channels=96, feat_channels=32)
    for split in ('train', 'val'):
        data = cfg[f'{split}_dataloader'].dataset
        data.data_root = str(write_split(folder, STREET, split))
        for step in data.pipeline:
            if step['type'] == 'Resize':
                step.scale = SIZE[::-1]
        data.pipeline = [step for step in data.pipeline
                         if step['type'] not in ('Brightness', 'RandomResize', 'RandomCrop', 'Pad')]
    cfg.test_dataloader = cfg.val_dataloader
    cfg.train_dataloader.batch_size = 2
    cfg.train_cfg = dict(type='mmengine.EpochBasedTrainLoop', max_epochs=60, val_interval=60)
    cfg.optim_wrapper.optimizer.lr = 3e-3
    cfg.param_scheduler = []
    cfg.custom_hooks = [dict(type='mmengine.EMAHook', momentum=0.1)]
    cfg.default_hooks.checkpoint.update(interval=60)
    cfg.work_dir = str(folder / 'run')
    cfg.randomness = dict(seed=0)
    runner = Runner.from_cfg(cfg)
    runner.train()
    cfg.dump(folder / 'config.py')
    metrics = {key: buffer.current() for key, buffer in runner.message_hub.log_scalars.items()
               if 'miss_rate' in key}
    yield folder, metrics
    writer.undo()


def test_it_finds_the_people_it_was_trained_on(trained):
    folder, metrics = trained
    assert metrics['val/miss_rate/Reasonable'] < 1
    model = load(folder / 'config.py', folder / 'run/epoch_60.pth')
    assert model.dataset_meta['classes'] == ('pedestrian', )
    files = sorted((folder / 'leftImg8bit/val/ulm').iterdir())
    images = [cv2.imread(str(file)) for file in files]
    for image, found, objects in zip(images, predict(model, images), STREET.values(), strict=True):
        people = np.array([[x, y, x + w, y + h] for x, y, w, h in (
            one['bbox'] for one in objects if one['label'] == 'pedestrian')], float)
        # The rider looks as they do, and neither training nor score say what to make of her.
        middle = (found['boxes'][:, 0] + found['boxes'][:, 2]) / 2
        free = np.ones(len(middle), bool)
        for x, _, width, _ in (one['bbox'] for one in objects if one['label'] == 'rider'):
            free &= (middle < x) | (middle > x + width)
        best, scores = found['boxes'][free][:len(people)], found['scores'][free]
        order = best[:, 0].argsort()
        assert np.abs(best[order] - people).max() < 12
        picture = draw(image, found, min_score=scores[len(people) - 1] - 1e-4)
        changed = (picture != image).any(-1)
        x1, y1, _, y2 = best[0].round().astype(int)
        assert changed[(y1 + y2) // 2, [x1 - 1, x1, x1 + 1]].any()
        assert not (draw(image, found, min_score=1.) != image).any()
    assert len(predict(model, [np.full((40, 60, 3), 90, np.uint8)])[0]['boxes']) <= 100


def test_a_checkpoint_that_does_not_fit_is_an_error(trained, tmp_path):
    folder, _ = trained
    content = torch.load(folder / 'run/epoch_60.pth', weights_only=False)
    state = content['state_dict']
    torch.save(dict(state_dict={k: v for k, v in state.items() if 'scale_out' not in k}),
               tmp_path / 'headless.pth')
    with pytest.raises(ValueError, match=r'2 missing: bbox_head\.scale_out'):
        load(folder / 'config.py', tmp_path / 'headless.pth')
    torch.save(dict(state_dict={k: v for k, v in state.items() if k.startswith('backbone')}),
               tmp_path / 'backbone.pth')
    with pytest.raises(ValueError, match='backbone alone'):
        load(folder / 'config.py', tmp_path / 'backbone.pth')
    other = Config.fromfile(folder / 'config.py')
    other.model.backbone.arch = 'nano'
    other.model.neck.in_channels = (64, 128, 256)
    other.dump(tmp_path / 'other.py')
    with pytest.raises(ValueError, match='of another shape'):
        load(tmp_path / 'other.py', folder / 'run/epoch_60.pth')
    with pytest.raises(FileNotFoundError):
        load(folder / 'config.py', tmp_path / 'none.pth')

"""Training, resuming, testing and the page of ranked lists, through the tools."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from clasp_mm.analysis.ranked_lists import write_ranked_page
from clasp_mm.engine.hooks.finite_hook import image_names
from clasp_mm.utils.resources import shipped_file
from tests.source_tree import ROOT

QUICKSTART = next(shipped_file('configs/quickstart').glob('reid_*.py'))
RUN = """
_base_ = '{base}'
data_root = '{root}/'
model = dict(backbone=dict(init_cfg=None), head=dict(num_classes=6, num_cameras={cameras}))
train_dataloader = dict(
    batch_size=8,
    sampler=dict(num_identities=4, num_instances=2),
    dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
train_cfg = dict(max_epochs=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=1), logger=dict(interval=1))
"""


def tool(name, *args):
    done = subprocess.run(
        [sys.executable, str(shipped_file(f'tools/{name}')), *map(str, args)], capture_output=True,
        text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'}, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout + done.stderr


def losses(folder):
    return {row['step']: row['loss'] for row in map(
        json.loads, (folder / 'metrics.jsonl').read_text().splitlines()) if 'loss' in row}


@pytest.mark.slow
@pytest.mark.parametrize('cameras', [0, 6])
def test_a_run_is_trained_resumed_tested_and_drawn(market, tmp_path, cameras):
    config = tmp_path / 'reid.py'
    config.write_text(RUN.format(base=QUICKSTART, root=market, cameras=cameras))
    whole, parted = tmp_path / 'whole', tmp_path / 'parted'
    tool('train.py', config, '--work-dir', whole)
    tool('train.py', config, '--work-dir', parted, '--cfg-options', 'train_cfg.max_epochs=1')
    tool('train.py', config, '--work-dir', parted, '--resume')
    assert losses(parted) == losses(whole), 'a resumed run is the run in one go'
    assert len(losses(whole)) == 12
    out = tmp_path / 'scores'
    text = tool('test.py', config, whole / 'epoch_2.pth', '--work-dir', tmp_path, '--out', out)
    scores = json.loads((out / 'metrics.json').read_text())
    assert {'reid/mAP', 'reid/rank1', 'reid/mAP_reranked'} <= set(scores)
    assert 'protocol cross-camera: 16 queries, 56 gallery images' in text
    if not cameras:  # the page has no cameras to give
        page = tmp_path / 'page.html'
        assert write_ranked_page(config, whole / 'epoch_2.pth', page, count=2) == pytest.approx(
            scores['reid/mAP'], abs=1e-3)
        for kind in ('median', 'best', 'worst'):
            assert page.read_text().count(f'<h2>{kind}: average precision') == 2


def test_a_page_of_data_whose_cameras_are_not_all_known(fine_tuned, tmp_path):
    """The query lies in the gallery too, where it does not count; a distractor has a camera."""
    rng = np.random.default_rng(0)
    for name in 'abcd':
        cv2.imwrite(str(tmp_path / f'{name}.png'), rng.integers(0, 256, (64, 32, 3), np.uint8))
    (tmp_path / 'labels.csv').write_text(
        'image,identity,camera,split\na.png,ann,,query\na.png,ann,,gallery\n'
        'b.png,ann,,gallery\nc.png,bob,,gallery\nd.png,,0,gallery\n')
    cfg = Config.fromfile(fine_tuned[0])
    cfg.test_dataloader.dataset = dict(
        type='clasp_mm.ReIDTable', data_root=str(tmp_path), split='test', pipeline=[])
    cfg.dump(tmp_path / 'table.py')
    page = tmp_path / 'page.html'
    found = write_ranked_page(tmp_path / 'table.py', fine_tuned[1], page)
    assert any(found == pytest.approx(100 / place) for place in (1, 2, 3))  # b among b, c, d
    assert '1 queries, 4 gallery images' in page.read_text()


def test_layer_decay_reaches_the_head(fine_tuned):
    from mmengine.optim import build_optim_wrapper
    from mmpretrain.registry import MODELS
    cfg = Config.fromfile(fine_tuned[0])
    cfg.optim_wrapper.update(constructor='clasp_mm.LayerDecayOptimWrapperConstructor',
                             paramwise_cfg=dict(decay_rate=.5))
    model = MODELS.build(cfg.model)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    rates = {id(value): group['lr'] for group in groups for value in group['params']}
    base = cfg.optim_wrapper.optimizer.lr
    assert rates[id(model.head.classifier.weight)] == base
    assert rates[id(model.backbone.patch_embed.projection.weight)] < base / 16
    assert id(model.head.neck.bias) not in rates


def test_a_loss_that_is_no_number_names_the_images():
    from mmpretrain.structures import DataSample
    samples = [DataSample(metainfo=dict(sample_idx=i, img_path=f'{i}.jpg')) for i in (4, 2)]
    assert image_names(None, dict(data_samples=samples)) == [(4, '4.jpg'), (2, '2.jpg')]
    assert image_names(None, dict(data_samples=[DataSample()])) == [(-1, '')]


@pytest.mark.slow
def test_real_people_are_found_in_other_frames(fine_tuned, tmp_path):
    """Fourteen people of a street clip: their other frames come first, by whatever weights."""
    import shutil

    from clasp_mm.inferencers import reid
    from clasp_mm.inferencers.gallery import ReIDIndex
    root = ROOT / os.environ.get('CLASP_REAL_PEOPLE', '../shared/data/real_people')
    root = root / 'person_crops'
    if not root.is_dir():
        pytest.skip(f'no photographs at {root} (CLASP_REAL_PEOPLE)')
    index = json.loads((root / 'index.json').read_text())
    crops = index if isinstance(index, list) else next(
        value for value in index.values() if isinstance(value, list))
    for number, crop in enumerate(crop for crop in crops if crop.get('pid')):
        folder = tmp_path / crop['pid']
        folder.mkdir(exist_ok=True)
        shutil.copy(root / crop['file'], folder / f'{number}.jpg')
    gallery = ReIDIndex.build(reid.load(*fine_tuned), tmp_path, progress=False)
    assert len(gallery) == 56
    found = gallery.search(gallery.features, 4)
    same = [one.name.split('/')[0] == name.split('/')[0]
            for name, near in zip(gallery.names, found, strict=True) for one in near[1:]]
    assert sum(same) / len(same) > .8  # by chance 3 in 55

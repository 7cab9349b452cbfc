import json
import os
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('mmdet', reason='needs mmdet: bash tools/setup.sh')
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from clasp_mm.inferencers import person_search
from clasp_mm.inferencers.inferencer import Inferencer, inference
from tests.source_tree import ROOT

CONFIG = next((Path(__file__).parents[3] / 'configs/quickstart').glob('person_search_*.py'))


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> tuple[str, str]:
    """A config whose first head lets everything through, and random weights."""
    folder = tmp_path_factory.mktemp('model')
    cfg = Config.fromfile(CONFIG)
    cfg.model.backbone.init_cfg = None
    cfg.model.test_cfg.rcnn.update(first=dict(
        score_thr=0., nms=dict(type='nms', iou_threshold=0.4), max_per_img=20), score_thr=0.)
    cfg.dump(folder / 'config.py')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
        model.init_weights()
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(
        classes=('person', )))), folder / 'weights.pth')
    return str(folder / 'config.py'), str(folder / 'weights.pth')


def test_a_person_is_searched_for_in_a_folder(trained, drawn, tmp_path):
    frames = drawn / 'Image/SSM'
    query = (str(frames / 'val_000000.jpg'), [10, 20, 60, 110])
    for name in ('val_000000.jpg', 'val_000001.jpg'):
        (tmp_path / 'in').mkdir(exist_ok=True)
        os.link(frames / name, tmp_path / 'in' / name)
    inference('person_search', [tmp_path / 'in'], *trained, out_dir=tmp_path / 'out', min_score=-1,
              query=query)
    entries = json.loads((tmp_path / 'out/predictions.json').read_text())
    model = person_search.load(*trained)
    image = cv2.imread(query[0])
    vector = person_search.embed(model, image, query[1])
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    for entry in entries:
        similarity = np.array(entry['similarity'])
        assert len(similarity) and (np.diff(similarity) <= 0).all()
        np.testing.assert_allclose(similarity, np.array(entry['features']) @ vector, atol=.02)
        picture = cv2.imread(str(tmp_path / 'out' / entry['file']))
        assert np.abs(picture.astype(int) - cv2.imread(str(frames / entry['file']))).max() > 50
    everybody = person_search.predict(model, [image])[0]
    assert 'similarity' not in everybody and (np.diff(everybody['scores']) <= 0).all()
    with pytest.raises(ValueError, match='no area inside the image of 160x120'):
        person_search.embed(model, image, [170, 20, 190, 60])


def test_a_query_is_one_image(trained, drawn, tmp_path):
    search = Inferencer('person_search', *trained)
    frames = drawn / 'Image/SSM'
    image, number = frames / 'val_000000.jpg', len(list(frames.glob('*.jpg')))
    for given, message in ((frames, f'{frames} is {number} images'),
                           (np.zeros((2, 9, 9, 3), np.uint8), 'the query is 2 images')):
        with pytest.raises(ValueError, match=f'{message}: give one, and the box of the person'):
            search(image, query=(given, [0, 0, 9, 9]))


@pytest.mark.parametrize('arguments, message', [
    (['detection', 'a.jpg', '--query', 'a.jpg', '1', '2', '3', '4'], 'goes with person_search'),
    (['person_search', 'a.jpg', '--query', 'a.jpg', '1', '2', '3', 'x'], 'four numbers'),
])
def test_wrong_arguments(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['demo.py', *arguments, '--config', 'c', '--checkpoint', 'd'])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / 'tools/demo.py'), run_name='__main__')
    assert message in capsys.readouterr().err

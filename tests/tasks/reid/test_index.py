import json
import shutil

import cv2
import numpy as np
import pytest
import torch

from clasp_mm.datasets import Market1501
from clasp_mm.inferencers import reid
from clasp_mm.inferencers.gallery import ReIDIndex
from clasp_mm.inferencers.inferencer import Inferencer, inference
from clasp_mm.visualization.ranked_lists import (
    RIGHT,
    WRONG,
    draw_ranked_list,
    select_queries,
)


def unit(seed, number, channels=6):
    rows = np.random.default_rng(seed).normal(size=(number, channels)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def by_loop(index, query, count):
    distances = [(float(np.float32(((query.astype(float) - row) ** 2).sum()))**.5, place)
                 for place, row in enumerate(index.features.astype(float))]
    return [(index.names[place], pytest.approx(distance, abs=1e-9))
            for distance, place in sorted(distances)[:count]]


def test_search_is_exact():
    features = unit(0, 200)
    features[50:60] = features[:10]  # equal distances keep the order of the names
    index = ReIDIndex(features, [f'{i:03d}.jpg' for i in range(200)])
    queries = np.concatenate([unit(1, 5), features[:3]])
    for count in (1, 10, 500):
        for query, found in zip(queries, index.search(queries, count), strict=True):
            assert [tuple(one) for one in found] == by_loop(index, query, count)


def test_an_index_of_a_folder_is_saved_and_searched(market, fine_tuned, tmp_path, capsys):
    model = reid.load(*fine_tuned)
    folder = market / 'bounding_box_test'
    broken = folder / 'broken.jpg'
    broken.write_bytes(b'no image')
    try:
        index = ReIDIndex.build(model, folder, progress=False)
    finally:
        broken.unlink()
    assert 'broken.jpg' not in index.names and len(index) == 64
    image = cv2.imread(str(folder / index.names[7]))
    result, = reid.predict(model, [image], index, count=4)
    assert result['names'][0] == index.names[7] and result['distances'][0] < 1e-3
    index.save(tmp_path / 'index.npz')
    again = ReIDIndex.load(tmp_path / 'index.npz')
    assert again.search(result['feature'][None]) == index.search(result['feature'][None])
    assert (again.names, again.root) == (index.names, str(folder))


def test_an_index_is_searched_from_another_folder(market, fine_tuned, tmp_path, monkeypatch):
    monkeypatch.chdir(market)
    run = Inferencer('reid', *fine_tuned)
    ReIDIndex.build(run.model, 'bounding_box_test', progress=False).save(tmp_path / 'index.npz')
    monkeypatch.chdir(tmp_path)
    assert ReIDIndex.load('index.npz').root == str(market / 'bounding_box_test')
    run(market / 'query', gallery='index.npz', out_dir='out')
    assert len(list((tmp_path / 'out').glob('*.jpg'))) == 16


def test_images_that_left_the_gallery_are_blank_and_counted_once(market, fine_tuned, tmp_path,
                                                                 said):
    gallery, queries = tmp_path / 'gallery', sorted((market / 'query').iterdir())[:3]
    gallery.mkdir()
    for name, path in zip('abc', sorted((market / 'bounding_box_test').iterdir()), strict=False):
        shutil.copy(path, gallery / f'{name}.jpg')
    run = Inferencer('reid', *fine_tuned)
    index = ReIDIndex.build(run.model, gallery, progress=False)
    (gallery / 'a.jpg').unlink()
    (gallery / 'b.jpg').write_bytes(b'no image')
    found = run(queries, gallery=index, out_dir=tmp_path / 'out')
    assert json.loads((tmp_path / 'out/predictions.json').read_text())[2]['names'] == found[2][
        'names'].tolist()
    text, = [text for text in said if 'blank' in text]
    assert text.startswith('2 images of the gallery could not be read and are blank in the '
                           f'pictures: {gallery}/a.jpg: ') and f'{gallery}/b.jpg: no known' in text
    query = cv2.imread(str(queries[0]))
    picture = reid.draw(query, found[0], gallery)
    assert cv2.imread(str(tmp_path / 'out' / queries[0].name)).shape == picture.shape
    assert said[-1].startswith('2 of 3 images could not be read')
    cells = [picture[10:150, start:start + 60] for start in (125, 219, 313)]
    assert [bool((cell == 255).all()) for cell in cells] == [
        name != 'c.jpg' for name in found[0]['names']]


def test_features_are_those_of_the_test_pipeline(market, fine_tuned):
    """One by one, in batches, and as the runner makes them."""
    from mmengine.config import Config
    from mmengine.dataset import pseudo_collate
    from mmengine.registry import DefaultScope
    model = reid.load(*fine_tuned)
    cfg = Config.fromfile(fine_tuned[0])
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        data = Market1501(str(market), 'query', pipeline=cfg.test_pipeline)
        samples = [data[i] for i in range(len(data))]
    with torch.inference_mode():
        expected = [sample.feature.numpy() for sample in model.val_step(pseudo_collate(samples))]
    images = [cv2.imread(sample['data_samples'].img_path) for sample in samples]
    for row, result in zip(expected, reid.predict(model, images), strict=True):
        np.testing.assert_allclose(result['feature'], row, atol=1e-5)
    assert np.linalg.norm(expected, axis=1) == pytest.approx(1, abs=1e-5)


def test_demo_draws_ranked_lists(market, fine_tuned, tmp_path):
    found = inference('reid', market / 'query', *fine_tuned, out_dir=tmp_path,
                      gallery=market / 'bounding_box_test')
    entries = json.loads((tmp_path / 'predictions.json').read_text())
    assert len(entries) == len(found) == 16
    assert len(entries[0]['names']) == 10
    assert entries[0]['distances'] == sorted(entries[0]['distances'])
    picture = cv2.imread(str(tmp_path / entries[0]['file']))
    assert picture.shape[1] > 10 * picture.shape[0] / 3


def test_ranked_list_has_the_frames_of_right_and_wrong():
    images = [np.full((40, 20, 3), value, np.uint8) for value in (10, 90, 200)]
    picture = draw_ranked_list(images[0], images[1:], [.1, .2], [True, False], 40)
    found = [tuple(colour) for colour in np.unique(picture.reshape(-1, 3), axis=0).tolist()]
    assert RIGHT in found and WRONG in found
    columns = [int(np.argwhere((picture == colour).all(-1))[:, 1].mean())
               for colour in ((10, ) * 3, RIGHT, WRONG)]
    assert columns == sorted(columns)


def test_telling_queries_by_hand():
    scores = np.array([.5, np.nan, .9, .1, .7, .3, .2, .8, .6, np.nan, .4])
    assert select_queries(scores, 2) == dict(median=[10, 0], best=[2, 7], worst=[3, 6])
    assert select_queries(np.array([np.nan, .3])) == dict(median=[1], best=[], worst=[])


def test_wrong_input(market, fine_tuned, tmp_path):
    index = ReIDIndex(unit(0, 3), 'abc')
    with pytest.raises(ValueError, match='of 5 channels in an index of 6'):
        index.search(unit(0, 2, 5))
    with pytest.raises(ValueError, match='3 features and 2 names'):
        ReIDIndex(unit(0, 3), 'ab')
    with pytest.raises(ValueError, match='at least one image'):
        ReIDIndex(unit(0, 0), '')
    with pytest.raises(ValueError, match='1 index features are not finite'):
        ReIDIndex(np.array([[np.nan, 1]]), 'a')
    model = reid.load(*fine_tuned)
    (tmp_path / 'empty').mkdir()
    for folder in ('none', 'empty'):
        with pytest.raises(FileNotFoundError, match=folder):
            ReIDIndex.build(model, tmp_path / folder)
    (tmp_path / 'text.npz').write_text('text')
    with pytest.raises(ValueError, match='no index that'):
        ReIDIndex.load(tmp_path / 'text.npz')
    with pytest.raises(FileNotFoundError):
        ReIDIndex.load(tmp_path / 'none.npz')
    with pytest.raises(ValueError, match=r'shape \(0, 3, 3\)'):
        reid.predict(model, [np.zeros((0, 3, 3), np.uint8)])
    (tmp_path / 'other.py').write_text("model = dict(head=dict(type='LinearClsHead'))")
    with pytest.raises(ValueError, match='no config of re-identification'):
        reid.load(tmp_path / 'other.py', fine_tuned[1])

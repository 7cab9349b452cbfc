import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from scipy.io import loadmat, savemat

pytest.importorskip('mmdet', reason='needs mmdet: bash tools/setup.sh')
from clasp_mm.datasets.checks.person_search import check_person_search
from clasp_mm.datasets.person_search import CUHKSYSU, PRW
from clasp_mm.datasets.search_annotations import UNLABELLED
from clasp_mm.synthetic import draw_scene
from clasp_mm.synthetic.layouts import cuhk_sysu as layout
from clasp_mm.synthetic.layouts.split import Split

from .conftest import SIZE

CONFIGS = Path(__file__).parents[3] / 'configs/person_search'


@pytest.fixture
def copy(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / 'data')


def test_drawn_people_are_read_as_they_were_drawn(drawn):
    split = Split(drawn, 'val', 10, 0, SIZE)
    data = CUHKSYSU(str(drawn), 'test', pipeline=[])
    assert len(data) == 10
    pid_of = {}
    for index, frame in enumerate(data):
        count = int(split.rng(layout._SCENE, index).integers(2, 6))
        scene = draw_scene(split.people_seed, SIZE, count, index, num_identities=10)
        drawn_boxes = {person.box_visible: person.identity for person in scene.people}
        for one in frame['instances']:
            identity = next(who for box, who in drawn_boxes.items()
                            if np.abs(np.array(box) - one['bbox']).max() <= 1)
            if one['bbox_label'] == UNLABELLED:
                # Nobody to search for: unlabelled by draw, or seen only once.
                pid_of.setdefault(identity, UNLABELLED)
            else:
                assert identity % 4 and pid_of.setdefault(identity, one['bbox_label']) == one[
                    'bbox_label']
    searched = [pid for pid in pid_of.values() if pid != UNLABELLED]
    assert len(searched) == len(set(searched)) >= 4


def test_queries_and_galleries(drawn):
    data = CUHKSYSU(str(drawn), 'test', gallery_size=50, pipeline=[])
    frames = list(data)
    queries = {query['query']: (frame, query) for frame in frames for query in frame['queries']}
    assert sorted(queries) == list(range(len(queries))) and len(queries) >= 4
    for frame, query in queries.values():
        assert any(one['bbox'] == query['bbox'] and one['bbox_label'] == query['pid']
                   for one in frame['instances'])
        assert frame['img_id'] not in query['gallery']
        assert len(set(query['gallery'])) == len(query['gallery']) >= 5
        shown = [other for other in frames if any(
            one['bbox_label'] == query['pid'] for one in other['instances'])]
        assert len(shown) >= 2
        assert {other['img_id'] for other in shown} <= {*query['gallery'], frame['img_id']}


def test_train_identities_come_again(drawn):
    data = CUHKSYSU(str(drawn), pipeline=[])
    pids = [one['bbox_label'] for frame in data for one in frame['instances']]
    known = [pid for pid in pids if pid != UNLABELLED]
    assert set(known) == set(range(max(known) + 1)) and len(known) > len(set(known))
    assert UNLABELLED in pids and all(frame['queries'] == [] for frame in data)
    assert data.metainfo['num_identities'] == max(known) + 1


def test_files_do_not_depend_on_the_order_of_the_splits_or_on_a_second_run(drawn, tmp_path):
    for split in ('train', 'val', 'val'):
        layout.write_cuhk_sysu(tmp_path, split, 10, size=SIZE, workers=1, progress=False)
    for file in ('annotation/Images.mat', 'annotation/test/train_test/TestG50.mat'):
        assert (tmp_path / file).read_bytes() == (drawn / file).read_bytes()


def test_prw(prw):
    train = PRW(str(prw), pipeline=[])
    assert [[one['bbox_label'] for one in frame['instances']] for frame in train] == [
        [1, UNLABELLED], [0]]
    assert train[1]['instances'][0]['bbox'] == [0, 10, 20, 70]  # clipped at 0, whole pixels
    assert train.metainfo['num_identities'] == 2
    test = PRW(str(prw), 'test', pipeline=[])
    assert [len(frame['instances']) for frame in test] == [2, 1, 0]  # one box without area
    assert test[0]['queries'] == [dict(query=0, bbox=[10, 10, 30, 70], pid=7, gallery=None)]


@pytest.mark.parametrize('line, box', [
    ('-5.5 10.7 20 60', [0, 10, 14, 70]),  # -5.5 + 20 = 14.5, 10.7 + 60 = 70.7, then from 0
    ('10 -8.25 20.5 60', [10, 0, 30, 51]),  # 10 + 20.5 = 30.5, -8.25 + 60 = 51.75
    ('-3 -4 20 60', [0, 0, 17, 56])])
def test_a_query_beyond_the_border_keeps_its_right_and_bottom(prw, line, box):
    (prw / 'query_info.txt').write_text(f'7 {line} c3s1_000003\n')
    assert PRW(str(prw), 'test', pipeline=[])[0]['queries'][0]['bbox'] == box


def test_the_recipe_s_table_holds_the_release_s_identities(prw):
    """Its training frames name 1 to 478, 480 to 483 and 932: 478 + 4 + 1 = 483 people."""
    people = [(pid, 10, 10, 20, 60) for pid in (*range(1, 479), *range(480, 484), 932, -2)]
    savemat(prw / 'annotations/c1s1_000001.jpg.mat', {'box_new': np.array(people, float)})
    savemat(prw / 'annotations/c2s1_000002.jpg.mat', {'box_new': np.zeros((0, 5))})
    data = PRW(str(prw), pipeline=[])
    assert [one['bbox_label'] for one in data[0]['instances']] == [*range(483), UNLABELLED]
    for path in CONFIGS.glob('*_prw-*.py'):
        table = Config.fromfile(path).model.roi_head.loss_oim.num_identities
        assert table == data.metainfo['num_identities'] == 483


def test_a_person_whose_box_images_mat_lacks_is_added(copy):
    file = copy / 'annotation/test/train_test/TestG50.mat'
    content = loadmat(file)['TestG50']
    name = str(content[0, 0]['Query'][0, 0]['imname'].item())
    before = {frame['img_path']: len(frame['instances'])
              for frame in CUHKSYSU(str(copy), 'test', pipeline=[], gallery_size=50)}
    content[0, 0]['Query'][0, 0]['idlocate'] = np.array([[3, 4, 50, 60]])
    savemat(file, {'TestG50': content})
    for frame in CUHKSYSU(str(copy), 'test', pipeline=[], gallery_size=50):
        added = [one for one in frame['instances'] if one['bbox'] == [3, 4, 53, 64]]
        assert len(frame['instances']) == before[frame['img_path']] + len(added)
        assert [one['bbox_label'] for one in added] == ([0] if name in frame['img_path'] else [])


def test_missing_images_and_lists_are_named(copy, prw):
    (copy / 'Image/SSM/val_000003.jpg').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of 10 images of test .* is val_000003.jpg'):
        CUHKSYSU(str(copy), 'test')
    (copy / 'annotation/test/train_test/Train.mat').write_bytes(b'nothing')
    with pytest.raises(ValueError, match=r'Train.mat is no MATLAB file'):
        CUHKSYSU(str(copy))
    with pytest.raises(FileNotFoundError, match=r'TestG500\.mat'):
        CUHKSYSU(str(copy), 'test', gallery_size=500)
    with pytest.raises(ValueError, match='gallery_size must be one of'):
        CUHKSYSU(str(copy), 'test', gallery_size=99)
    with pytest.raises(ValueError, match="'train' or 'test'"):
        PRW(str(prw), 'val')
    (prw / 'query_info.txt').write_text('7 10 10 20 60 c3s1_000003\n7 10 10 20 60 c9s1_1\n')
    with pytest.raises(ValueError, match=r'query 1 needs c9s1_1.jpg, which is no frame of test'):
        PRW(str(prw), 'test')
    (prw / 'query_info.txt').write_text('7 10 10 20 c3s1_000003\n')
    with pytest.raises(ValueError, match=r'query_info\.txt, line 1'):
        PRW(str(prw), 'test')
    (prw / 'annotations/c3s1_000004.jpg.mat').unlink()
    with pytest.raises(FileNotFoundError, match=r'c3s1_000004.jpg.mat'):
        PRW(str(prw), 'test')


def test_check(copy, prw):
    text = str(check_person_search(copy, 'cuhk_sysu', progress=False))
    assert re.search(r'ok +test, galleries of 50: 10 frames, \d+ boxes', text)
    assert 'the release: 6978, 2900, 2900' in text and 'TestG4000.mat' in text
    (copy / 'Image/SSM/train_000000.jpg').unlink()
    (copy / 'Image/SSM/train_000001.jpg').write_bytes(b'')
    images = loadmat(copy / 'annotation/Images.mat')['Img']
    images[0, 3]['box'][0, 0]['idlocate'] = np.array([[SIZE[1] + 5, 4, 30, 60]])
    savemat(copy / 'annotation/Images.mat', {'Img': images})
    text = str(check_person_search(copy, 'cuhk_sysu', progress=False))
    for problem in ('1 images of train are missing', 'train_000000.jpg', '1 images of train cannot',
                    'boxes of train without area or outside their image'):
        assert problem in text
    text = str(check_person_search(prw, 'prw', progress=False))
    assert 'train: 2 frames, 3 boxes, 2 identities, 0 queries' in text
    assert 'test: 3 frames, 4 boxes, 2 identities, 1 queries' in text
    assert '1 boxes of test without area' in text and 'c3s1_000004.jpg' in text

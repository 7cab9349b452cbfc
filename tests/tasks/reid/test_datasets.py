import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from clasp_mm.datasets import MSMT17, Market1501, ReIDFolder, ReIDTable, reid
from clasp_mm.datasets.reid import NO_CAMERA, NOBODY
from clasp_mm.synthetic import SyntheticPeople


def touch(root, *names):
    for name in names:
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def rows(data, *keys):
    return [tuple(data.get_data_info(i)[key] for key in keys) for i in range(len(data))]


def test_market_names_by_hand(tmp_path):
    touch(tmp_path, 'bounding_box_train/0002_c1s1_000451_03.jpg',
          'bounding_box_train/0011_c6s4_002502_01.jpg', 'bounding_box_train/Thumbs.db',
          'bounding_box_train/._0002_c1s1_000451_03.jpg', 'query/0003_c5s1_000151_00.jpg',
          'bounding_box_test/0003_c2s3_056237_02.jpg', 'bounding_box_test/0000_c4s1_000151_01.jpg',
          'bounding_box_test/-1_c1s1_000401_03.jpg')
    train = Market1501(str(tmp_path))
    assert rows(train, 'gt_label', 'pid', 'camera') == [(0, 0, 0), (1, 1, 5)]
    test = Market1501(str(tmp_path), 'test')
    (query, *gallery) = rows(test, 'pid', 'camera', 'is_query')
    assert query == (0, 4, True)
    assert sorted(gallery) == [(NOBODY, 3, False), (0, 1, False)]  # distractor kept, junk dropped
    assert test.metainfo['num_identities'] == 1 and test.metainfo['shared_with_train'] == 0
    touch(tmp_path, 'bounding_box_train/0003_c1s1_000001_00.jpg')
    assert Market1501(str(tmp_path), 'test').metainfo['shared_with_train'] == 1


def test_msmt17_lists_by_hand(tmp_path):
    touch(tmp_path, 'train/x', 'test/x')
    for name, line in (('train', '0000/0000_000_01_0303morning_0015_0.jpg 0'),
                       ('val', '0002/0002_004_15_0303noon_0020_1.jpg 2'),
                       ('query', '0000/0000_001_03_0302afternoon_0001_0.jpg 0'),
                       ('gallery', '0000/0000_007_12_0302afternoon_0003_0.jpg 0')):
        (tmp_path / f'list_{name}.txt').write_text(line + '\n\n')
    train = MSMT17(str(tmp_path))
    assert rows(train, 'gt_label', 'camera') == [(0, 0), (1, 14)]
    assert train.get_data_info(1)['img_path'].endswith('train/0002/0002_004_15_0303noon_0020_1.jpg')
    test = MSMT17(str(tmp_path), 'test')
    assert rows(test, 'pid', 'camera', 'is_query') == [(0, 2, True), (0, 11, False)]
    assert test.metainfo['shared_with_train'] == 0  # the numbers are those of other people
    for side in ('train', 'test'):
        (tmp_path / side).rename(tmp_path / f'mask_{side}_v2')
    assert 'mask_test_v2/0000/' in MSMT17(str(tmp_path), 'query').get_data_info(0)['img_path']


def test_folder_and_table_agree(tmp_path):
    names = {'train': ('ann/c0_1.jpg', 'bob/c1_1.jpg'), 'query': ('eve/c0_1.png', ),
             'gallery': ('eve/c2_1.png', 'dan/c1_7.jpg')}
    touch(tmp_path, *(f'{part}/{name}' for part, own in names.items() for name in own))
    lines = ['image,identity,camera,split']
    lines += [f'{part}/{name},{name.split("/")[0]},{name.split("/")[1][1]},{part}'
              for part, own in names.items() for name in own]
    (tmp_path / 'labels.csv').write_text('\n'.join(lines))
    for split in ('train', 'test'):
        folder = ReIDFolder(str(tmp_path), split, camera_pattern=r'c(\d)')
        table = ReIDTable(str(tmp_path), split)
        keys = ('img_path', 'pid', 'camera', 'is_query')
        assert sorted(rows(folder, *keys)) == sorted(rows(table, *keys))
    assert Counter(rows(folder, 'pid', 'camera', 'is_query')) == Counter(
        [(1, 0, True), (1, 2, False), (0, 1, False)])
    unknown = ReIDFolder(str(tmp_path), 'test')
    assert {camera for camera, in rows(unknown, 'camera')} == {NO_CAMERA}


@pytest.fixture
def logged(monkeypatch):
    lines = []
    monkeypatch.setattr(reid, 'print_log', lambda text, **_: lines.append(text))
    return lines


def test_cells_that_are_empty_or_have_spaces(tmp_path, logged):
    """Who has no identity is not trained on and not searched for; in the gallery he is nobody."""
    (tmp_path / 'labels.csv').write_text(
        'image, identity ,camera,split\n'
        'a.jpg,ann,0,train\nb.jpg, ann ,,train \nc.jpg,,1,train\nd.jpg,bob,1,train\n'
        ' q.jpg,eve, ,query\nr.jpg,  ,0,query\n'
        'g.jpg,eve ,2,gallery\nh.jpg,, ,gallery\ni.jpg, ,,gallery\n')
    train = ReIDTable(str(tmp_path))
    assert rows(train, 'gt_label', 'camera') == [(0, 0), (0, NO_CAMERA), (1, 1)]
    assert train.metainfo['num_identities'] == 2
    test = ReIDTable(str(tmp_path), 'test')
    assert rows(test, 'pid', 'camera', 'is_query') == [
        (0, NO_CAMERA, True), (0, 2, False), (NOBODY, NO_CAMERA, False),
        (NOBODY, NO_CAMERA, False)]
    assert test.metainfo['num_identities'] == 1 and test.metainfo['shared_with_train'] == 0
    assert test.get_data_info(0)['img_path'] == str(tmp_path / 'q.jpg')
    assert logged == [
        'ReIDTable train: 3 images, 2 identities, 2 cameras, 1 of unknown camera; 1 without '
        'identity are left out',
        'ReIDTable query: 1 images, 1 identities, no cameras; 1 without identity are left out',
        'ReIDTable gallery: 3 images, 1 identities, 1 cameras, 2 of unknown camera; 2 of nobody, '
        'who match no query']


def test_a_pattern_may_leave_cameras_unknown(tmp_path):
    touch(tmp_path, 'train/ann/c0_1.jpg', 'train/ann/phone.jpg')
    data = ReIDFolder(str(tmp_path), camera_pattern=r'^(?:c(\d)_)?')
    assert rows(data, 'camera') == [(0, ), (NO_CAMERA, )]


@pytest.mark.parametrize('pattern, words', [
    (r'c\d', r'has no group, which is the number of the camera'),
    (r'c(\w)_', r"the first is 'cx_2.jpg'; expected a number as the first group")])
def test_a_pattern_without_a_number(tmp_path, pattern, words):
    touch(tmp_path, 'train/ann/c0_1.jpg', 'train/ann/cx_2.jpg')
    with pytest.raises(ValueError, match=words):
        ReIDFolder(str(tmp_path), camera_pattern=pattern)


def test_market_cameras_count_from_one(tmp_path):
    """Camera 0 would become the number that stands for an unknown one."""
    touch(tmp_path, 'bounding_box_train/0002_c0s1_000451_03.jpg')
    with pytest.raises(ValueError, match='do not parse'):
        Market1501(str(tmp_path))
    touch(tmp_path / 'm', 'train/x', 'test/x')
    (tmp_path / 'm/list_query.txt').write_text('0000/0000_001_00_0302afternoon_0001_0.jpg 0')
    with pytest.raises(ValueError, match='do not parse'):
        MSMT17(str(tmp_path / 'm'), 'query')


def test_synthetic_market_is_what_was_drawn(market):
    train, test = Market1501(str(market)), Market1501(str(market), 'test')
    assert Counter(rows(train, 'pid')) == Counter({(pid, ): 8 for pid in range(6)})
    by_role = Counter(rows(test, 'is_query', 'pid'))
    assert by_role == {**{(True, pid): 2 for pid in range(8)},
                       **{(False, pid): 6 for pid in range(8)}, (False, NOBODY): 8}
    assert test.metainfo['shared_with_train'] == 0
    seed = (1 << 20) + 1
    info = test.get_data_info(0)
    record = SyntheticPeople(10, 8, seed, (64, 32))[int(info['img_path'].split('_')[-2])]
    assert (record.identity, record.camera) == (info['pid'], info['camera'])
    image = cv2.imread(info['img_path'])[..., ::-1]
    assert np.abs(image.astype(int) - record.image).mean() < 5


@pytest.mark.parametrize('name, words', [
    ('bounding_box_train/2_c1s1_000451_03.jpg', '1 names of bounding_box_train do not parse.*2_c1'),
    ('bounding_box_train/0002-000451.png', "'0002-000451.png'; expected identity_cCAMERA")])
def test_names_that_do_not_parse(tmp_path, name, words):
    touch(tmp_path, 'bounding_box_train/0002_c1s1_000451_03.jpg', name)
    with pytest.raises(ValueError, match=words):
        Market1501(str(tmp_path))


def test_what_is_missing_is_named(tmp_path, market):
    for make, words in ((lambda: Market1501(str(tmp_path / 'none')), 'data_root=.*none'),
                        (lambda: Market1501(str(tmp_path)), 'bounding_box_train'),
                        (lambda: MSMT17(str(tmp_path)), 'mask_train_v2'),
                        (lambda: ReIDFolder(str(tmp_path), 'query'), 'folder .*query'),
                        (lambda: ReIDTable(str(tmp_path)), 'labels.csv')):
        with pytest.raises(FileNotFoundError, match=words):
            make()
    with pytest.raises(ValueError, match="'val'"):
        Market1501(str(market), 'val')
    root = tmp_path / 'copy'
    shutil.copytree(market, root)
    for path in (root / 'bounding_box_test').iterdir():
        path.unlink()
    with pytest.raises(ValueError, match='the gallery part holds no image'):
        Market1501(str(root), 'test')
    (tmp_path / 'train').mkdir()
    with pytest.raises(FileNotFoundError, match=r'list_train\.txt'):
        MSMT17(str(tmp_path))
    (tmp_path / 'list_train.txt').write_text('0000/picture.jpg 0\n')
    with pytest.raises(ValueError, match=r'list_train\.txt do not parse'):
        MSMT17(str(tmp_path))


def test_missing_query_image(market, tmp_path):
    root = tmp_path / 'copy'
    shutil.copytree(market, root)
    data = Market1501(str(root), 'query', pipeline=[
        lambda info: dict(info, img=Path(info['img_path']).read_bytes())])
    Path(data.get_data_info(3)['img_path']).unlink()
    data[0]
    with pytest.raises(FileNotFoundError, match=r'no image .*query/5002.*data check'):
        data[3]


@pytest.mark.parametrize('text, words', [
    ('image,identity\na.jpg,1\n', 'no column split'),
    ('image,identity,split\na.jpg,1,val\n', "labels.csv:2: split 'val'"),
    ('image,identity,split,camera\na.jpg,1,train,west\n', "labels.csv:2: camera 'west'"),
    ('image,identity,split\na.jpg,1,query\n', 'train part holds no image')])
def test_tables_that_are_wrong(tmp_path, text, words):
    (tmp_path / 'labels.csv').write_text(text)
    with pytest.raises(ValueError, match=words):
        ReIDTable(str(tmp_path))

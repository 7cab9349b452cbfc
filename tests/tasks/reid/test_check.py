import shutil

from clasp_mm.datasets.checks.reid import check_reid


def test_whole_market(market):
    findings = check_reid(market)
    assert not findings.problems
    assert 'Market-1501 train: 48 images, 6 identities, 6 cameras' in findings.facts[0]
    assert 'gallery: 56 images, 8 identities' in findings.facts[2] and '15913' in findings.facts[2]


def test_what_is_wrong_is_told(market, tmp_path):
    root = tmp_path / 'market'
    shutil.copytree(market, root)
    first = sorted((root / 'query').iterdir())[0].name
    shutil.copy(root / 'query' / first, root / 'bounding_box_train')
    for path in (root / 'bounding_box_test').glob('5003_*'):
        path.unlink()
    text = str(check_reid(root))
    assert '1 identities are both in train and in test: 5001' in text
    assert '2 queries have no image of their identity under another camera' in text
    (root / 'query' / 'mine.jpg').touch()
    shutil.rmtree(root / 'bounding_box_train')
    text = str(check_reid(root))
    assert 'query: 1 names of query do not parse' in text and 'bounding_box_train' in text


def test_msmt17(tmp_path):
    for name in ('train', 'val', 'query', 'gallery'):
        (tmp_path / f'list_{name}.txt').write_text(f'0000/0000_00{len(name)}_0{len(name)}_x.jpg 0')
    (tmp_path / 'train').mkdir()
    (tmp_path / 'test/0000').mkdir(parents=True)
    (tmp_path / 'test/0000/0000_005_05_x.jpg').touch()
    (tmp_path / 'test/0000/0000_007_07_x.jpg').touch()
    problems = check_reid(tmp_path).problems
    assert problems == ['2 images of train are missing: train/0000/0000_005_05_x.jpg, '
                        'train/0000/0000_003_03_x.jpg']

import json

import pytest

pytest.importorskip('mmdet', reason='needs mmdet: bash tools/setup.sh')
from clasp_mm.datasets.checks.citypersons import check_citypersons
from clasp_mm.datasets.citypersons import CityPersons
from clasp_mm.synthetic import write_citypersons

from .conftest import SIZE, official_box

STREET = {
    'ulm_000001_000019': [
        official_box(10, 20, 24, 60, visible=[10, 20, 24, 30]), official_box(60, 30, 20, 40),
        official_box(100, 20, 24, 60, 'rider'), official_box(-8, 10, 24, 80)],
    'jena_000000_000019': [],
    'jena_000002_000019': [official_box(0, 0, 192, 30, 'ignore')],
}


def dataset(root, split='train', **changes) -> CityPersons:
    return CityPersons(**{**dict(
        data_root=str(root), ann_file=f'gtBboxCityPersons/{split}',
        data_prefix=dict(img=f'leftImg8bit/{split}'), pipeline=[]), **changes})


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    texts: list[str] = []
    monkeypatch.setattr('clasp_mm.datasets.citypersons.print_log',
                        lambda text, *_: texts.append(text))
    return texts


def test_official_annotations(write_official):
    data = dataset(write_official(STREET))
    names = [data[i]['img_path'].rsplit('/', 1)[1] for i in range(3)]
    assert names == [f'{stem}_leftImg8bit.png' for stem in sorted(STREET)]  # without people too
    assert [len(data[i]['instances']) for i in range(3)] == [0, 1, 4]
    assert data[1]['instances'][0]['ignore_flag'] == 1
    half, low, rider, cut = data[2]['instances']
    assert half['bbox'] == [10, 20, 34, 80] and half['bbox_visible'] == [10, 20, 34, 50]
    assert half['visibility'] == 0.5 and half['ignore_flag'] == 0
    assert low['ignore_flag'] == 1 and rider['ignore_flag'] == 1  # 40 pixels; no pedestrian
    assert cut['bbox'] == [-8, 10, 16, 90] and cut['ignore_flag'] == 0
    tested = dataset(write_official(STREET), test_mode=True)
    assert [one['ignore_flag'] for one in tested[2]['instances']] == [0, 0, 1, 0]
    assert [one['ignore_flag'] for one in dataset(
        write_official(STREET), min_height=70)[2]['instances']] == [1, 1, 1, 0]


def test_both_forms_of_the_synthetic_streets_are_one(tmp_path):
    write_citypersons(tmp_path, 'val', 2, size=(128, 256), workers=1, progress=False)
    folder = dataset(tmp_path, 'val', test_mode=True)
    coco = dataset(tmp_path, 'val', ann_file='val_gt.json', test_mode=True)
    assert len(folder) == 2 and sum(len(one['instances']) for one in folder) > 4
    for a, b in zip(folder, sorted(coco, key=lambda one: one['img_path']), strict=True):
        assert a['img_path'] == b['img_path']
        assert a['instances'] == b['instances']


def coco_file(root, **changes):
    content = dict(
        categories=[dict(id=1, name='pedestrian')],
        images=[dict(id=7, im_name='ulm_000001_000019_leftImg8bit.png', width=SIZE[1],
                     height=SIZE[0])],
        annotations=[
            dict(id=1, image_id=7, category_id=1, bbox=[10, 20, 24, 60], vis_ratio=0.4, ignore=0,
                 vis_bbox=[10, 20, 24, 30]),
            dict(id=2, image_id=7, category_id=1, bbox=[60, 20, 24, 60], ignore=1),
            dict(id=3, image_id=7, category_id=2, bbox=[100, 20, 24, 60])])
    (root / 'val_gt.json').write_text(json.dumps({**content, **changes}))


def test_coco_form_as_it_is_handed_round(write_official):
    root = write_official(STREET)
    coco_file(root)
    data = dataset(root, ann_file='val_gt.json')
    assert data[0]['img_path'].endswith('train/ulm/ulm_000001_000019_leftImg8bit.png')
    first, ignored, other = data[0]['instances']
    assert first['visibility'] == 0.4  # as written, whatever the boxes say
    assert first['bbox_visible'] == [10, 20, 34, 50] and first['ignore_flag'] == 0
    assert ignored['visibility'] == 1.0 and ignored['ignore_flag'] == other['ignore_flag'] == 1


def test_a_box_that_is_not_finite_is_left_out_and_named(write_official, warnings):
    root = write_official(STREET)
    coco_file(root, annotations=[
        dict(id=number, image_id=7, category_id=1, bbox=[10, 20, width, 60])
        for number, width in enumerate((24, float('nan'), float('inf')))])
    assert len(dataset(root, ann_file='val_gt.json')[0]['instances']) == 1
    (text, ) = warnings
    assert 'left out 2 boxes' in text and '[10.0, 20.0, nan, 80.0]' in text


BAD_BOXES = [({}, 'without bbox'), (dict(bbox=None), 'without bbox'),
             (dict(bbox=[1, 2, 3]), 'that is not four finite'),
             (dict(bbox=[1, 2, float('nan'), 9]), 'that is not four finite')]


@pytest.mark.parametrize('lacking', ['area', 'iscrowd'])
def test_what_the_metric_reads_is_asked_for_before_the_test(tmp_path, lacking):
    from clasp_mm.datasets.coco_boxes import CocoBoxes
    box = dict(id=1, image_id=1, category_id=1, bbox=[1, 2, 30, 40], area=1200, iscrowd=0)
    (tmp_path / 'a.json').write_text(json.dumps(dict(
        images=[dict(id=1, file_name='a.jpg', width=64, height=48)],
        categories=[dict(id=1, name='person')],
        annotations=[box, {name: value for name, value in dict(box, id=8).items()
                           if name != lacking}])))
    options = dict(data_root=str(tmp_path), ann_file='a.json', data_prefix=dict(img=''),
                   metainfo=dict(classes=('person', )), pipeline=[])
    assert len(CocoBoxes(**options)[0]['instances']) == 2
    with pytest.raises(ValueError, match=f'annotation 8 of image 1 is without {lacking}'):
        CocoBoxes(**options, test_mode=True)


@pytest.mark.parametrize('bad, fault', BAD_BOXES)
def test_boxes_of_coco_that_cannot_be_read_are_counted_and_named(tmp_path, monkeypatch, bad, fault):
    from clasp_mm.datasets.coco_boxes import CocoBoxes
    said: list[str] = []
    monkeypatch.setattr('clasp_mm.datasets.coco_boxes.print_log',
                        lambda text, *_: said.append(text))
    common = dict(image_id=1, category_id=1, area=1200, iscrowd=0)
    (tmp_path / 'a.json').write_text(json.dumps(dict(
        images=[dict(id=1, file_name='a.jpg', width=64, height=48)],
        categories=[dict(id=1, name='person')],
        annotations=[dict(common, id=1, bbox=[1, 2, 30, 40]), dict(common, id=8, **bad)])))
    options = dict(data_root=str(tmp_path), ann_file='a.json', data_prefix=dict(img=''),
                   metainfo=dict(classes=('person', )), pipeline=[])
    image = CocoBoxes(**options)[0]
    assert [one['bbox'] for one in image['instances']] == [[1, 2, 31, 42]]
    (text, ) = said
    assert 'left out 1 annotations' in text and fault in text and text.endswith(': 8')
    with pytest.raises(ValueError, match=f'annotation 8 of image 1 is .*{fault}.*evaluation'):
        CocoBoxes(**options, test_mode=True)


def test_boxes_without_area_or_outside_are_left_out_and_counted(write_official, warnings):
    root = write_official({'ulm_000001_000019': [
        official_box(10, 20, 24, 60), official_box(10, 20, 0, 60), official_box(10, 20, 24, -5),
        official_box(300, 20, 24, 60), official_box(10, -90, 24, 60)]})
    assert len(dataset(root)[0]['instances']) == 1
    (text, ) = warnings
    assert 'left out 4 boxes' in text and 'ulm_000001_000019' in text


def test_missing_annotations_say_where_they_were_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match='gtBboxCityPersons/train'):
        dataset(tmp_path)
    (tmp_path / 'gtBboxCityPersons/train').mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match='folder of a split'):
        dataset(tmp_path)


@pytest.mark.parametrize('content, message', [
    ('{', 'no JSON'),
    ('[]', 'no annotation of CityPersons'),
    (dict(objects=[], imgWidth=4), "missing 'imgHeight'"),
    (dict(objects=[dict(label='pedestrian', bbox=[1, 2, 3, 4])]), "missing 'bboxVis'"),
    (dict(objects=[official_box(1, 2, 3, 4, 'horse')]), "unknown label 'horse'"),
    (dict(objects=[dict(official_box(1, 2, 3, 4), bbox=[1, 2, 3])]), 'not x, y, width, height'),
    (dict(objects=[dict(official_box(1, 2, 3, 4), bbox=None)]), 'not x, y, width, height'),
    (dict(objects=[dict(official_box(1, 2, 3, 4), bboxVis=[1, 2, float('nan'), 4])]),
     'what is visible is'),
])
def test_a_broken_annotation_is_named(write_official, content, message):
    root = write_official(STREET)
    file = next(root.glob('gtBboxCityPersons/train/ulm/*'))
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=message) as error:
        dataset(root)
    assert file.name in str(error.value)
    assert any(message.split("'")[0] in problem and file.name in problem
               for problem in check_citypersons(root).problems)


@pytest.mark.parametrize('changes, message', [
    (dict(annotations=[dict(id=5, image_id=8, bbox=[1, 1, 2, 2], category_id=1)]),
     'annotation 5 is of image 8'),
    (dict(images=[dict(id=7, im_name='a.png', width=5)]), "missing 'height'"),
    (dict(annotations=[dict(id=5, image_id=7, category_id=1)]), "annotation 5: .*missing 'bbox'"),
    (dict(annotations=[dict(id=5, image_id=7, category_id=1, bbox=None)]),
     'annotation 5: box None is not x, y, width, height'),
    (dict(annotations=[dict(id=5, image_id=7, category_id=1, bbox=[1, 1, None, 9])]),
     'annotation 5: no annotations in COCO form'),
    (dict(annotations=[dict(id=5, image_id=7, bbox=[1, 1, 2, 9])]),
     "annotation 5: .*missing 'category_id'"),
    (dict(annotations=[dict(id=5, image_id=7, category_id=1, bbox=[1, 1, 2, 9],
                            vis_bbox=[1, 1, float('nan'), 9])]), 'annotation 5: what is visible'),
    (dict(annotations=[dict(id=5, image_id=7, category_id=1, bbox=[1, 1, 2, 9],
                            vis_ratio=float('nan'))]), r'annotation 5: what is visible is \[nan'),
])
def test_a_broken_coco_file_is_named(write_official, changes, message):
    root = write_official(STREET)
    coco_file(root, **changes)
    with pytest.raises(ValueError, match=message):
        dataset(root, ann_file='val_gt.json')


def test_check_tells_what_is_missing_and_wrong(write_official):
    root = write_official({**STREET, 'bonn_000001_000019': [official_box(10, 20, 0, 60)]})
    write_official(STREET, 'val')
    next(root.glob('leftImg8bit/train/jena/*')).write_bytes(b'')
    next(root.glob('leftImg8bit/train/ulm/*')).unlink()
    next(root.glob('gtBboxCityPersons/val/ulm/*')).unlink()
    found = check_citypersons(root)
    text = str(found)
    assert 'train: 4 annotated images, 2 of them without a pedestrian; 4 pedestrians, 2 ' in text
    for problem in ('train below', 'holds 3 files', 'the official split 2975', 'split 500',
                    '1 annotations of train without image: ulm/ulm_000001_000019',
                    '1 images of val without annotation: ulm/ulm_000001_000019',
                    '1 images of train are empty files: jena/', '1 boxes of train without area'):
        assert any(problem in line for line in found.problems), problem

import json
import shutil
import sys

import pytest

pytest.importorskip('mmpose', reason='needs mmpose: bash tools/setup.sh')

from mmengine.logging import MMLogger
from mmpose.datasets import CocoDataset
from mmpose.registry import DATASETS

from clasp_mm.datasets.checks.coco import DETECTIONS, check_coco
from tests.source_tree import ROOT

TRAIN = 'annotations/person_keypoints_train2017.json'
VAL = 'annotations/person_keypoints_val2017.json'


@pytest.fixture
def root(coco, tmp_path):
    """A copy that may be spoiled."""
    return shutil.copytree(coco, tmp_path / 'coco')


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def build(root, split='train', **kwargs):
    import clasp_mm.datasets.coco_keypoints  # noqa: F401
    return DATASETS.build(dict(
        type='clasp_mm.CocoKeypoints', data_root=str(root), data_mode='topdown',
        ann_file=f'annotations/person_keypoints_{split}2017.json',
        data_prefix=dict(img=f'{split}2017/'), test_mode=split == 'val', **kwargs))


@pytest.fixture
def said(monkeypatch):
    """What is logged by us."""
    lines = []
    monkeypatch.setattr(MMLogger, 'callHandlers', lambda self, record: lines.append(
        record.getMessage()))
    MMLogger.get_instance('pose-data')
    return lines


def test_people_are_those_of_mmpose(coco):
    ours = build(coco)
    theirs = CocoDataset(data_root=str(coco), ann_file=TRAIN, data_prefix=dict(img='train2017/'))
    assert [ours[i]['id'] for i in range(len(ours))] == [
        theirs[i]['id'] for i in range(len(theirs))]
    assert len(ours) > 5


def test_people_who_cannot_be_used_are_counted(root, said):
    whole = len(build(root))

    def spoil(content):
        people = [person for person in content['annotations'] if person['num_keypoints']]
        people[0]['bbox'] = [500., 20., 30., 40.]  # the image is 160 wide
        people[1]['bbox'] = [20., 20., 0., 40.]
        people[2]['iscrowd'] = 1
        content['images'].append(dict(content['images'][0], id=999, file_name='nobody.jpg'))
    edit(root / TRAIN, spoil)
    said.clear()
    assert len(build(root)) == whole - 3
    line, = (line for line in said if 'left out' in line)
    assert '2 with a box that is empty or outside the image' in line
    assert '1 crowd regions' in line and 'of 7 images' in line and f'{whole - 3} people' in line


FAULTS = [
    (lambda person: person.pop('bbox'), 'without bbox'),
    (lambda person: person.update(bbox=None), 'without bbox'),
    (lambda person: person.update(bbox=[1., 2., 3.]), 'with a bbox that is not four finite'),
    (lambda person: person.update(bbox=[1., 2., float('nan'), 4.]), 'with a bbox that is not four'),
    (lambda person: person.pop('keypoints'), 'without keypoints'),
    (lambda person: person.update(keypoints=None), 'without keypoints'),
    (lambda person: person['keypoints'].__setitem__(4, float('nan')),
     'with keypoints that are not finite'),
    (lambda person: person['keypoints'].__setitem__(4, None), 'with keypoints that are not finite')]


@pytest.mark.parametrize('spoil, fault', FAULTS)
def test_annotations_that_cannot_be_read_are_counted_and_named(root, said, spoil, fault):
    people = [person for person in json.loads((root / TRAIN).read_text())['annotations']
              if person['num_keypoints']]
    place = people[1]['id'] - 1
    whole = [person['id'] for person in build(root)]
    for name in (TRAIN, VAL):
        edit(root / name, lambda content: spoil(content['annotations'][place]))
    said.clear()
    kept = build(root)
    assert [person['id'] for person in kept] == [one for one in whole if one != place + 1]
    line, = (line for line in said if 'left out' in line)
    assert f'1 {fault}' in line and f'(annotation {place + 1})' in line
    assert all(kept[i]['keypoints'].shape == (1, 17, 2) for i in range(len(kept)))
    message = rf'val2017.json: annotation {place + 1} of image \d+ is {fault}.*evaluation'
    for bbox_file in (None, str(root / DETECTIONS)):  # the metric reads the file in both cases
        with pytest.raises(ValueError, match=message):
            build(root, 'val', bbox_file=bbox_file)
    problems = [line for line in check_coco(root).problems if fault in line]
    assert len(problems) == 2 and all(line.endswith(f': {place + 1}') for line in problems)


def test_crowdpose_is_told_alike(tmp_path, said):
    """CrowdPose has 14 keypoints."""
    def person(number, **changes):
        return {**dict(id=number, image_id=1, category_id=1, iscrowd=0, num_keypoints=14,
                       bbox=[1., 2., 30., 40.], keypoints=[9., 9., 2.] * 14), **changes}
    (tmp_path / 'a.json').write_text(json.dumps(dict(
        images=[dict(id=1, file_name='a.jpg', width=64, height=64, crowdIndex=.5)],
        categories=[dict(id=1, name='person')],
        annotations=[person(1), person(2, keypoints=None)])))
    import clasp_mm.datasets.coco_keypoints  # noqa: F401
    people = DATASETS.build(dict(type='clasp_mm.CrowdPoseKeypoints', data_root=str(tmp_path),
                                 ann_file='a.json', data_prefix=dict(img='')))
    assert len(people) == 1 and any('1 without keypoints (annotation 2)' in line for line in said)


@pytest.mark.parametrize('box, fault', [(None, 'without bbox'), ([1, 2, 3], 'not four finite')])
def test_a_detection_without_a_box_is_named(root, box, fault):
    edit(root / DETECTIONS, lambda boxes: boxes.append(dict(boxes[0], bbox=box)))
    number = len(json.loads((root / DETECTIONS).read_text())) - 1
    with pytest.raises(ValueError, match=rf'detection {number} \(from 0\), of image .*{fault}'):
        build(root, 'val', bbox_file=str(root / DETECTIONS))
    assert any(f'cannot be used: {number} ' in line for line in check_coco(root).problems)


def test_an_image_without_people_is_no_sample(root):
    def add(content):
        content['images'].append(dict(content['images'][0], id=998, file_name='nobody.jpg'))
    before = len(build(root))
    edit(root / TRAIN, add)
    assert len(build(root)) == before


def test_nobody_left_is_an_error(root):
    edit(root / TRAIN, lambda content: content['annotations'].clear())
    with pytest.raises(ValueError, match='nobody in it can be used'):
        build(root)


def test_missing_files_are_named_with_the_way_out(root):
    (root / TRAIN).unlink()
    with pytest.raises(FileNotFoundError, match=r'(?s)no annotation file.*train2017.*data check'):
        build(root)
    with pytest.raises(FileNotFoundError, match='no detections file'):
        build(root, 'val', bbox_file=str(root / 'none.json'))


def test_wrong_number_of_keypoints(root):
    edit(root / TRAIN, lambda content: content['annotations'][2].update(keypoints=[1, 2, 2] * 14))
    with pytest.raises(ValueError, match=r'annotation 3 of image \d+ has 42 numbers.*17 x'):
        build(root)


def test_detections_of_another_split(root):
    edit(root / DETECTIONS, lambda boxes: boxes.append(dict(boxes[0], image_id=1)))
    with pytest.raises(ValueError, match=r'1 images, such as 1, that .*val2017.json does not know'):
        build(root, 'val', bbox_file=str(root / DETECTIONS))


def test_detected_boxes_without_area_in_the_image_are_left_out(root, said):
    whole = len(build(root, 'val', bbox_file=str(root / DETECTIONS)))
    edit(root / DETECTIONS, lambda boxes: boxes.extend(
        dict(boxes[0], bbox=box) for box in ([10., 10., 0., 5.], [170., 10., 5., 5.],
                                             [-20., -20., 30., 30.])))
    said.clear()
    assert len(build(root, 'val', bbox_file=str(root / DETECTIONS))) == whole + 1
    assert any('left out: 2 with a box' in line for line in said)


def test_check_finds_nothing_wrong_with_good_data(coco):
    findings = check_coco(coco)
    assert not findings.problems and len(findings.facts) == 5
    assert '6 images' in findings.facts[0] and '149813 people' in findings.facts[0]


def test_check_names_every_fault(root, monkeypatch, capsys):
    import runpy

    def spoil(content):
        content['annotations'][0]['keypoints'] = [0.] * 48
        content['annotations'][1]['image_id'] = 77
        content['annotations'][2].update(bbox=[5., 5., 10., 0.], num_keypoints=3)
    edit(root / TRAIN, spoil)
    edit(root / DETECTIONS, lambda boxes: boxes.append(dict(boxes[0], image_id=1)))
    next((root / 'train2017').iterdir()).unlink()
    monkeypatch.setattr(sys, 'argv', ['coco.py', '--check', str(root)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / 'tools/dataset_converters/coco.py'), run_name='__main__')
    text = capsys.readouterr().out
    assert stop.value.code == 1 and text.count('PROBLEM') == 5
    for part in ('without 17 x 3 keypoint numbers: 1', 'that it does not list: 2',
                 'empty or outside the image', '1 images are missing in train2017/: 0000',
                 'another split: 1'):
        assert part in text


def test_check_of_an_empty_folder_says_what_is_missing(tmp_path):
    (tmp_path / 'annotations').mkdir()
    (tmp_path / TRAIN).write_text('{"images": [')
    (tmp_path / VAL).write_text('[]')
    problems = '\n'.join(check_coco(tmp_path).problems)
    assert 'train2017.json cannot be read' in problems
    assert 'val2017.json has no images and annotations' in problems
    assert f'{DETECTIONS} is missing' in problems

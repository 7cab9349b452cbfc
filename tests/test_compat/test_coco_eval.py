import json
import os

import numpy as np
import pytest

from tests.source_tree import ROOT

pytest.importorskip('pycocotools', reason='needs pycocotools')

from clasp_mm.compat import coco_eval

KINDS = ['keypoints', 'keypoints_crowd', 'keypoints_body', 'keypoints_foot', 'keypoints_face',
         'keypoints_lefthand', 'keypoints_righthand', 'keypoints_wholebody']
PARTS = dict(keypoints=5, foot_kpts=3, face_kpts=4, lefthand_kpts=2, righthand_kpts=2)
COUNT = {'keypoints_foot': 3, 'keypoints_face': 4, 'keypoints_lefthand': 2,
         'keypoints_righthand': 2, 'keypoints_wholebody': 16}


def drawn(seed, area=True, crowds=True, first=0, zero=0.2, own_scores=False, noise=3.0):
    """Annotations and detections of 6 images with up to 4 people each."""
    rng = np.random.default_rng(seed)
    images = [dict(id=first + n, width=200, height=200, crowdIndex=float(rng.random()))
              for n in range(6)]
    objects, found = [], []
    for image in images:
        for _ in range(rng.integers(0, 5)):
            box = [*(rng.random(2) * 80), *(20 + rng.random(2) * 100)]
            one = dict(id=first + len(objects), image_id=image['id'], category_id=1, bbox=box,
                       num_keypoints=int(rng.integers(0, 3)))
            if crowds:
                one['iscrowd'] = int(rng.random() < 0.15)
            if area:
                one['area'] = box[2] * box[3] * float(rng.random())
            hit = dict(image_id=image['id'], category_id=1, score=float(rng.integers(1, 6)) / 5)
            for part, count in PARTS.items():
                points = np.column_stack([rng.random(count) * box[2] + box[0],
                                          rng.random(count) * box[3] + box[1],
                                          rng.integers(0, 3, count)])
                one[part] = points.ravel().tolist()
                points[:, :2] += rng.normal(size=(count, 2)) * noise
                points[:, 2] = rng.random(count) * (rng.random() > zero)
                hit[part] = points.ravel().tolist()
            if own_scores:
                for part in ('foot', 'face', 'lefthand', 'righthand', 'wholebody'):
                    hit[f'{part}_score'] = float(rng.random())
            objects.append(one)
            found += [hit] * int(rng.integers(0, 3))
    return (dict(images=images, annotations=objects, categories=[dict(id=1, name='person')]),
            [dict(one) for one in found])


def stats(modules, folder, case, kind, use_area=True, sigmas=None):
    coco, cocoeval = modules
    annotations, found = case
    for name, data in (('gt', annotations), ('dt', found)):
        (folder / f'{name}.json').write_text(json.dumps(data))
    truth = coco.COCO(str(folder / 'gt.json'))
    result = truth.loadRes(str(folder / 'dt.json'))
    if sigmas is None:
        sigmas = np.linspace(0.03, 0.1, COUNT.get(kind, 5))
    evaluation = cocoeval.COCOeval(truth, result, kind, sigmas, use_area)
    evaluation.params.useSegm = None  # as mmpose does
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return np.asarray(evaluation.stats)


CASES = dict(
    coco=dict(), no_area=dict(area=False), no_crowd=dict(crowds=False), from_7=dict(first=7),
    zero_scores=dict(zero=0.6), own_scores=dict(own_scores=True), exact=dict(noise=0.0))


@pytest.fixture
def xtcocotools():
    """The modules of the published package."""
    theirs = pytest.importorskip('xtcocotools', reason='compares with xtcocotools')
    if getattr(theirs, 'clasp_mm_evaluation', False):
        pytest.skip('compares with xtcocotools, and there is none')
    from xtcocotools import coco, cocoeval
    return coco, cocoeval


OURS = coco_eval, coco_eval


@pytest.mark.filterwarnings('ignore:.* not found, use')
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('case', CASES)
def test_scores_are_those_of_xtcocotools(xtcocotools, kind, case, tmp_path):
    above = 0
    for seed in range(2):
        data = drawn(seed, **CASES[case])
        for use_area in (True, False) if CASES[case].get('area', True) else (False,):
            wanted = stats(xtcocotools, tmp_path, data, kind, use_area)
            ours = stats(OURS, tmp_path, data, kind, use_area)
            np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-12)
            above += (wanted > 0).sum()
    assert above > 10


PEOPLE = ROOT / os.environ.get('CLASP_REAL_PEOPLE', '../shared/data/real_people') / 'mmpose'
FILES = [('coco/test_coco.json', 'keypoints'), ('mhp/test_mhp.json', 'keypoints'),
         ('aic/test_aic.json', 'keypoints'), ('crowdpose/test_crowdpose.json', 'keypoints_crowd'),
         *(('coco/test_coco_wholebody.json', f'keypoints_{part}')
           for part in ('body', 'foot', 'face', 'lefthand', 'righthand', 'wholebody'))]


@pytest.mark.filterwarnings('ignore:.* not found, use')
@pytest.mark.skipif(not PEOPLE.is_dir(), reason=f'no annotations at {PEOPLE} (CLASP_REAL_PEOPLE)')
@pytest.mark.parametrize('name, kind', FILES)
def test_scores_of_real_people_are_those_of_xtcocotools(xtcocotools, name, kind, tmp_path):
    annotations = json.loads((PEOPLE / name).read_text())
    rng = np.random.default_rng(0)
    found = []
    for ann in annotations['annotations'] * 3:
        hit = dict(image_id=ann['image_id'], category_id=ann['category_id'],
                   score=float(rng.random()))
        spread = rng.choice([0.01, 0.03, 0.3]) * ann['bbox'][3]
        for part in PARTS:
            if part in ann:
                points = np.reshape(ann[part], (-1, 3)).astype(float)
                points[:, :2] += rng.normal(size=(len(points), 2)) * spread
                points[:, 2] = rng.random(len(points)) * (rng.random() > 0.2)
                hit[part] = points.ravel().tolist()
        found.append(hit)
    parts = coco_eval._PARTS[kind]
    count = sum(len(annotations['annotations'][0][part]) // 3 for part in parts)
    sigmas = np.linspace(0.03, 0.1, count)
    for use_area in (True, False) if 'area' in annotations['annotations'][0] else (False,):
        wanted, ours = (stats(modules, tmp_path, (annotations, found), kind, use_area, sigmas)
                        for modules in (xtcocotools, OURS))
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-12)
        assert 0 < wanted[0] < 1


def test_no_detection(tmp_path):
    annotations, _ = drawn(0)
    found = stats(OURS, tmp_path, (annotations, []), 'keypoints')
    assert set(found[[0, 1, 2, 5]]) == {0}


def person(number, x, **more):
    """A person of two keypoints, at x and x + 10, whose box is 20 wide and 50 high."""
    return dict(id=number, image_id=0, category_id=1, bbox=[x, 0, 20, 50],
                keypoints=[x, 0, 2, x + 10, 0, 1], **more)


def score(folder, people, found, kind='keypoints', use_area=True):
    annotations = dict(images=[dict(id=0, crowdIndex=0.5)], annotations=people,
                       categories=[dict(id=1, name='person')])
    (folder / 'gt.json').write_text(json.dumps(annotations))
    truth = coco_eval.COCO(str(folder / 'gt.json'))
    evaluation = coco_eval.COCOeval(truth, truth.loadRes(found), kind, [0.1, 0.1], use_area)
    evaluation.params.useSegm = None
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


def hit(x, score, confidence=1.0):
    return dict(image_id=0, category_id=1, score=score,
                keypoints=[x, 0, confidence, x + 10, 0, confidence])


def test_average_precision_by_hand(tmp_path):
    people = [person(0, 0, area=500.0), person(1, 100, area=500.0)]
    # the better detection hits the first person, the other none: precision 1 up to recall 1/2,
    # which covers 51 of the 101 steps 0, 0.01, ... 1
    assert score(tmp_path, people, [hit(0, 0.9), hit(50, 0.8)])[0] == pytest.approx(51 / 101)
    # the wrong one first: precision 1/2 at recall 1/2
    assert score(tmp_path, people, [hit(0, 0.8), hit(50, 0.9)])[0] == pytest.approx(51 / 202)


def test_area_of_the_box_by_hand(tmp_path):
    # 5 pixels off with an area of 0.53 * 20 * 50 = 530:
    # OKS = exp(-25 / (2 * (2 * 0.1)^2 * 530)) = exp(-0.5896) = 0.5545: over 0.5 and 0.55, of ten
    for people, use_area in (([person(0, 0)], True), ([person(0, 0, area=1e6)], False)):
        found = score(tmp_path, people, [hit(5, 0.9)], use_area=use_area)
        assert found[:3] == pytest.approx([2 / 10, 1, 0])


def test_what_does_not_count_by_hand(tmp_path):
    one = [person(0, 0, area=500.0)]
    assert score(tmp_path, one, [hit(50, 0.9, confidence=0.0), hit(0, 0.5)])[0] == pytest.approx(1)
    assert score(tmp_path, one, [hit(50, 0.9), hit(0, 0.5)])[0] == pytest.approx(1 / 2)
    # a crowd, and a person of whom nothing is seen, are neither missed nor found
    unseen = dict(person(2, 100, area=500.0), keypoints=[100, 0, 0, 110, 0, 0])
    assert score(tmp_path, [*one, person(1, 50, area=500.0, iscrowd=1), unseen],
                 [hit(50, 0.9), hit(0, 0.5)])[5] == 1


def test_crowds_count_by_the_file(tmp_path):
    people = [person(0, 0, area=500.0, num_keypoints=1), person(1, 50, area=500.0, num_keypoints=0)]
    found = score(tmp_path, people, [hit(0, 0.9)], 'keypoints_crowd')
    # AP and AR of all; images of crowdIndex 0.5 are medium, and there is no other
    assert found == pytest.approx([1, 1, 1, 1, 1, 1, -1, 1, -1])


def test_boxes_are_scored_as_pycocotools_scores_them(tmp_path):
    from pycocotools import coco, cocoeval
    annotations, found = drawn(3)
    (tmp_path / 'gt.json').write_text(json.dumps(annotations))
    for one in found:
        person = next(each for each in annotations['annotations']
                      if each['image_id'] == one['image_id'])
        one['bbox'] = [side + 5 for side in person['bbox']]
    scored = []
    for cls, evaluation in ((coco.COCO, cocoeval.COCOeval),
                            (coco_eval.COCO, coco_eval.COCOeval)):
        truth = cls(str(tmp_path / 'gt.json'))
        one = evaluation(truth, truth.loadRes([dict(row) for row in found]), 'bbox')
        one.evaluate()
        one.accumulate()
        one.summarize()
        scored.append(one.stats.tolist())
    assert scored[0] == scored[1] and scored[0][0] > 0


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"iouType is 'keypoint'; known: bbox, segm, keypoints, "):
        coco_eval.COCOeval(None, None, 'keypoint')

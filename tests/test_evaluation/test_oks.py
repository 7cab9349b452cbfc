"""mmpose's CocoMetric, which scores the pose recipes, against AP and AR by loops."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.oracles import oks as oracle

mmpose = pytest.importorskip('mmpose', reason='needs mmpose')

from mmpose.datasets.datasets.utils import parse_pose_metainfo  # noqa: E402
from mmpose.evaluation import CocoMetric  # noqa: E402

REAL = Path(os.environ.get('CLASP_REAL_PEOPLE', Path(__file__).parents[3] /
                           'shared/data/real_people')) / 'mmpose/coco/test_coco.json'
META = parse_pose_metainfo(dict(from_file='configs/_base_/datasets/coco.py'))


def problem(seed, images=8, whole=False):
    """Per image (people, found); found are noisy people, doubles and false ones."""
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(images):
        people, found = [], []
        for _ in range(rng.integers(0, 6)):
            side = rng.uniform(20, 160)
            corner = rng.uniform(0, 300, 2)
            xy = corner + rng.uniform(0, side, (17, 2))
            visible = rng.choice([0, 1, 2], 17, p=[.2, .2, .6])
            if rng.random() < .15:
                visible[:] = 0
            noise = rng.choice([0, .02, .08, .3]) * side
            for _ in range(rng.integers(0, 3)):
                found.append(xy + rng.normal(0, 1, (17, 2)) * noise)
            xyv = np.concatenate([xy, visible[:, None]], 1) * (visible > 0)[:, None]
            people.append(dict(keypoints=xyv.tolist(), bbox=[*corner.tolist(), side, side],
                               area=float(.5 * side**2), iscrowd=int(rng.random() < .1)))
        for _ in range(rng.integers(0, 3)):
            found.append(rng.uniform(0, 300, 2) + rng.uniform(0, 90, (17, 2)))
        joint_scores = rng.uniform(.05, 1, (len(found), 17))
        box_scores = rng.uniform(.1, 1, len(found))
        if whole:  # equal scores
            joint_scores[:], box_scores = .5, box_scores.round(1)
        result.append((people, [
            dict(keypoints=xy, joint_scores=joints, box_score=box) for xy, joints, box in
            zip(found, joint_scores, box_scores, strict=True)]))
    return result


def host(images, path, nms):
    """What CocoMetric says."""
    annotations, samples = [], []
    for image_id, (people, found) in enumerate(images, 1):
        for person in people:
            flat = np.array(person['keypoints']).ravel()
            annotations.append(dict(
                person, id=len(annotations) + 1, image_id=image_id, category_id=1,
                keypoints=flat.tolist(), num_keypoints=int((flat[2::3] > 0).sum())))
        for pose in found:
            samples.append(dict(
                id=len(samples), img_id=image_id, gt_instances={},
                pred_instances=dict(keypoints=pose['keypoints'][None],
                                    keypoint_scores=pose['joint_scores'][None],
                                    bbox_scores=np.array([pose['box_score']]))))
    path.write_text(json.dumps(dict(
        images=[dict(id=number, width=640, height=480, file_name=f'{number}.jpg')
                for number in range(1, len(images) + 1)],
        annotations=annotations, categories=[dict(id=1, name='person')])))
    metric = CocoMetric(ann_file=str(path), nms_mode=nms)
    metric.dataset_meta = META
    metric.process([], samples)
    return {name.removeprefix('coco/'): value
            for name, value in metric.evaluate(len(samples)).items()}


def loops(images, nms):
    prepared = []
    for people, found in images:
        found = [dict(keypoints=pose['keypoints'].tolist(),
                      score=oracle.pose_score(pose['box_score'], pose['joint_scores'].tolist()))
                 for pose in found]
        prepared.append((people, oracle.suppress(found) if nms == 'oks_nms' else found))
    return oracle.average_precision_and_recall(prepared)


def agree(images, path, nms='oks_nms'):
    result, expected = host(images, path, nms), loops(images, nms)
    assert set(result) == set(expected)
    assert {name: float(value) for name, value in result.items()} == pytest.approx(
        expected, abs=1e-9)
    return result


@pytest.mark.parametrize('nms', ['oks_nms', 'none'])
@pytest.mark.parametrize('seed', range(6))
def test_equals_the_loops(seed, nms, tmp_path):
    result = agree(problem(seed), tmp_path / 'truth.json', nms)
    assert 0 < result['AP'] < 1 and result['AR .5'] > result['AR']


@pytest.mark.parametrize('change', [
    'nobody', 'all crowds', 'none labelled', 'one score', 'doubles', 'people twice', 'far away',
    'nothing sure', 'more than twenty'])
def test_equals_the_loops_when_it_is_hard(change, tmp_path):
    images = problem(9, whole=change in ('one score', 'doubles'))
    for number, (people, found) in enumerate(images):
        if change == 'nobody':
            people.clear()
        elif change == 'people twice':
            people += [dict(person) for person in people]
        elif change == 'doubles':
            found += [dict(pose) for pose in found]
        elif change == 'more than twenty':
            for _ in range(25):
                xy = np.random.rand(17, 2) * 80 + 200
                found.append(dict(keypoints=xy, joint_scores=np.random.rand(17), box_score=.3))
        elif change == 'nothing sure' and number % 2:
            for pose in found:
                pose['joint_scores'] = np.full(17, .1)
        for person in people:
            if change == 'all crowds':
                person['iscrowd'] = 1
            elif change == 'none labelled':
                person['keypoints'] = [[0, 0, 0]] * 17
        for pose in found:
            if change == 'far away':
                pose['keypoints'] = pose['keypoints'] + 1000
    # Without suppression, which breaks ties of scores by an unstable sort.
    result = agree(images, tmp_path / 'truth.json', 'none')
    if change in ('nobody', 'all crowds', 'none labelled'):
        assert set(result.values()) == {-1.}
    elif change == 'far away':
        assert result['AP'] == result['AR'] == 0.


def test_no_detection_in_most_images(tmp_path):
    images = problem(3)
    for _, found in images[1:]:
        found.clear()
    assert images[0][1]
    agree(images, tmp_path / 'truth.json')


@pytest.mark.skipif(not REAL.is_file(), reason=f'no real annotations at {REAL}')
def test_equals_the_loops_on_real_annotations(tmp_path):
    """Fourteen people of COCO, two of them without labels; poses near them, some twice."""
    content = json.loads(REAL.read_text())
    rng = np.random.default_rng(0)
    images = {image['id']: ([], []) for image in content['images']}
    for item in content['annotations']:
        people, found = images[item['image_id']]
        xyv = np.array(item['keypoints'], float).reshape(17, 3)
        people.append(dict(keypoints=xyv.tolist(), bbox=item['bbox'], area=item['area'],
                           iscrowd=item['iscrowd']))
        for noise in rng.choice([.02, .05, .1], rng.integers(1, 3)):
            found.append(dict(
                keypoints=xyv[:, :2] + rng.normal(0, noise * item['area']**.5, (17, 2)),
                joint_scores=rng.random(17), box_score=rng.random()))
    result = agree(list(images.values()), tmp_path / 'truth.json')
    assert .2 < result['AP'] < .95 and result['AP (M)'] != result['AP (L)']

"""Synthetic data in COCO's, LIP's and CityPersons' layouts, read by the hosts' own data sets."""

import itertools
import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from clasp_mm.synthetic import (
    draw_scene,
    shards,
    write_citypersons,
    write_coco_keypoints,
    write_cuhk_sysu,
    write_lip,
)
from clasp_mm.synthetic.identity import draw_look
from clasp_mm.synthetic.layouts import citypersons as citypersons_module
from clasp_mm.synthetic.layouts import coco as coco_module
from clasp_mm.synthetic.layouts import matlab
from clasp_mm.synthetic.layouts import split as split_module
from clasp_mm.synthetic.layouts.split import Split

WRITERS = {'coco': write_coco_keypoints, 'lip': write_lip, 'citypersons': write_citypersons}
IMAGES, SIZE = 8, {'coco': (192, 256), 'lip': (96, 48), 'citypersons': (128, 256)}
COCO_FILE = 'annotations/person_keypoints_{}2017.json'
DETECTIONS = 'person_detection_results/COCO_{}2017_detections_AP_H_56_person.json'


def write(out_dir, layout, split, **options):
    WRITERS[layout](out_dir, split, IMAGES, size=SIZE[layout],
                    **{'workers': 1, 'progress': False, **options})


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob('*')) if path.is_file()}


@pytest.fixture(scope='module')
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp('layouts')
    for layout, split in itertools.product(WRITERS, ('train', 'val')):
        write(folder / layout, layout, split)
    return folder


def load(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize('split', ['train', 'val'])
def test_mmpose_reads_coco(roots, split):
    pytest.importorskip('mmpose', reason='needs mmpose: bash tools/setup.sh')
    from mmpose.datasets import CocoDataset
    root = roots / 'coco'
    common = dict(data_root=str(root), ann_file=COCO_FILE.format(split),
                  data_prefix=dict(img=f'{split}2017/'))
    data = CocoDataset(**common)
    content = load(root / COCO_FILE.format(split))
    labelled = [item for item in content['annotations'] if item['num_keypoints']]
    assert len(data) == len(labelled) > IMAGES
    for index, item in enumerate(labelled):
        sample = data[index]
        assert Path(sample['img_path']).is_file() and sample['img_id'] == item['image_id']
        raw = np.array(item['keypoints']).reshape(17, 3)
        np.testing.assert_allclose(sample['keypoints'][0], raw[:, :2], atol=1e-3)
        assert sample['keypoints_visible'][0].tolist() == np.minimum(raw[:, 2], 1).tolist()
    found = CocoDataset(**common, test_mode=True, bbox_file=str(root / DETECTIONS.format(split)))
    assert len(found) == len(load(root / DETECTIONS.format(split)))


def test_mmdet_reads_coco(roots):
    pytest.importorskip('mmdet', reason='needs mmdet: bash tools/setup.sh')
    from mmdet.datasets import CocoDataset
    root = roots / 'coco'
    data = CocoDataset(data_root=str(root), ann_file=COCO_FILE.format('val'), test_mode=True,
                       data_prefix=dict(img='val2017/'), metainfo=dict(classes=('person',)))
    content = load(root / COCO_FILE.format('val'))
    assert len(data) == IMAGES
    instances = [item for index in range(IMAGES) for item in data.get_data_info(index)['instances']]
    assert len(instances) == len(content['annotations'])
    for instance, item in zip(instances, content['annotations'], strict=True):
        x, y, w, h = item['bbox']
        assert instance['bbox'] == [x, y, x + w, y + h] and instance['bbox_label'] == 0


def test_coco_fits_the_scene(roots):
    """Boxes, joints and area are those of the scene; polygons enclose the same pixels."""
    content = load(roots / 'coco' / COCO_FILE.format('train'))
    split = Split(roots, 'train', IMAGES, 0, SIZE['coco'])
    by_image = {image['id']: [] for image in content['images']}
    for item in content['annotations']:
        by_image[item['image_id']].append(item)
    assert list(by_image) == list(range(1, 2 * IMAGES, 2))
    hidden = np.zeros(2, int)
    for index, (image, items) in enumerate(
            zip(content['images'], by_image.values(), strict=True)):
        count = split.rng(coco_module._SCENE, index).integers(1, 7)
        scene = draw_scene(split.people_seed, split.size, int(count), index)
        stored = cv2.imread(str(roots / 'coco/train2017' / image['file_name']))[..., ::-1]
        assert np.abs(stored.astype(int) - scene.image).mean() < 6
        numbers = [number for number in range(1, len(scene.people) + 1)
                   if ((scene.instances == number) & (scene.parsing > 0)).any()]
        assert len(items) == len(numbers)
        for number, item in zip(numbers, items, strict=True):
            person = scene.people[number - 1]
            mask = (scene.instances == number) & (scene.parsing > 0)
            rows, columns = np.nonzero(mask)
            x, y, w, h = item['bbox']
            assert (x, y, x + w, y + h) == (columns.min(), rows.min(), columns.max() + 1,
                                            rows.max() + 1)
            assert item['area'] == mask.sum() and item['iscrowd'] == 0
            drawn = np.zeros(split.size, np.uint8)
            outlines = [(np.array(polygon).reshape(-1, 2) - .5).astype(int)
                        for polygon in item['segmentation']]
            cv2.fillPoly(drawn, outlines, 1)
            if mask.sum() > 200:
                assert (drawn & mask).sum() / (drawn | mask).sum() > .8
            keypoints = np.array(item['keypoints']).reshape(17, 3)
            kept = keypoints[:, 2] > 0
            assert item['num_keypoints'] == kept.sum()
            np.testing.assert_allclose(keypoints[kept], person.keypoints[kept], atol=.01)
            assert not keypoints[~kept].any()
            seen = person.keypoints[:, 2] == 2
            if seen.sum() < 3:
                assert not kept.any()
                continue
            # Hidden joints count if they lie in the box or near it.
            inside = person.keypoints[:, 2] == 1
            outside = np.maximum([x, y] - person.keypoints[:, :2],
                                 person.keypoints[:, :2] - [x + w, y + h]).max(axis=1)
            assert np.array_equal(kept, seen | inside & (outside <= .1 * max(w, h)))
            hidden += [(inside & kept).sum(), (inside & ~kept).sum()]
    assert (hidden > 3).all()


def test_coco_detections_lie_near_the_boxes(roots):
    content = load(roots / 'coco' / COCO_FILE.format('val'))
    detections = load(roots / 'coco' / DETECTIONS.format('val'))
    assert {item['image_id'] for item in detections} <= {item['id'] for item in content['images']}
    best = []
    for item in content['annotations']:
        overlaps = [iou(item['bbox'], found['bbox']) for found in detections
                    if found['image_id'] == item['image_id']]
        best.append(max(overlaps, default=0))
        assert best[-1] < 1
    assert np.median(best) > .7
    false = [found for found in detections
             if max((iou(item['bbox'], found['bbox']) for item in content['annotations']
                     if item['image_id'] == found['image_id']), default=0) < .3]
    assert all(found['score'] < .35 for found in false)


def iou(a, b):
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(w, 0) * max(h, 0)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def test_mmseg_reads_lip(roots):
    pytest.importorskip('mmseg', reason='needs mmseg: bash tools/setup.sh')
    from mmseg.datasets import LIPDataset
    classes = set()
    for split in ('train', 'val'):
        data = LIPDataset(
            data_root=str(roots / 'lip'), ann_file=f'{split}_id.txt',
            data_prefix=dict(img_path=f'{split}_images',
                             seg_map_path=f'TrainVal_parsing_annotations/{split}_segmentations'),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='mmseg.LoadAnnotations')])
        assert len(data) == IMAGES
        for sample in data:
            assert sample['img'].shape == (96, 48, 3)
            assert sample['gt_seg_map'].shape == (96, 48)
            classes.update(np.unique(sample['gt_seg_map']).tolist())
    assert len(classes) > 10 and classes <= set(range(20))


def test_citypersons_boxes(roots):
    root = roots / 'citypersons'
    for split in ('train', 'val'):
        truth = load(root / f'{split}_gt.json')
        files = sorted((root / 'gtBboxCityPersons' / split).rglob('*_gtBboxCityPersons.json'))
        assert len(files) == len(truth['images']) == IMAGES
        number = 0
        for image in truth['images']:
            picture = root / 'leftImg8bit' / split / image['file_name']
            assert picture.name == image['im_name']
            assert cv2.imread(str(picture)).shape == (128, 256, 3)
            objects = load(root / 'gtBboxCityPersons' / split / image['file_name'].replace(
                'leftImg8bit.png', 'gtBboxCityPersons.json'))
            assert (objects['imgHeight'], objects['imgWidth']) == (128, 256)
            rows = [row for row in truth['annotations'] if row['image_id'] == image['id']]
            number += len(rows)
            for row, item in zip(rows, objects['objects'], strict=True):
                x, y, w, h = row['bbox']
                vx, vy, vw, vh = row['vis_bbox']
                assert row['bbox'] == item['bbox'] and row['vis_bbox'] == item['bboxVis']
                assert x <= vx < vx + vw <= x + w and y <= vy < vy + vh <= y + h
                assert 0 <= vx and 0 <= vy and vx + vw <= 256 and vy + vh <= 128
                assert row['vis_ratio'] == vw * vh / (w * h) and row['height'] == h
                assert row['ignore'] == (item['label'] != 'pedestrian')
                assert item['label'] == 'pedestrian' or item['bbox'] == item['bboxVis']
        assert number == len(truth['annotations'])


def test_citypersons_fits_the_scene(roots):
    """Visible boxes are the extents of the pixels that show, the others those of the bodies."""
    split = Split(roots, 'val', IMAGES, 0, SIZE['citypersons'])
    checked = 0
    for index, path in enumerate(sorted(
            (roots / 'citypersons/gtBboxCityPersons/val').rglob('*.json'),
            key=lambda path: path.name.split('_')[1])):
        count = int(split.rng(citypersons_module._SCENE, index).integers(5, 15))
        scene = draw_scene(split.people_seed, split.size, count, index)
        for item in load(path)['objects']:
            if item['label'] != 'pedestrian':
                continue
            number = item['instanceId'] % 1000
            rows, columns = np.nonzero((scene.instances == number + 1) & (scene.parsing > 0))
            x, y, w, h = item['bboxVis']
            assert (x, y, x + w, y + h) == (columns.min(), rows.min(), columns.max() + 1,
                                            rows.max() + 1)
            x, y, w, h = item['bbox']
            assert (x, y, x + w, y + h) == scene.people[number].box_full
            checked += 1
    assert checked > 3 * IMAGES


def test_citypersons_has_every_setup(tmp_path):
    write_citypersons(tmp_path, 'train', 24, num_people=(14, 14), workers=1, progress=False)
    rows = load(tmp_path / 'train_gt.json')['annotations']
    labels = {item['label'] for path in tmp_path.rglob('*_gtBboxCityPersons.json')
              for item in load(path)['objects']}
    assert labels == {'pedestrian', 'sitting person', 'person group', 'ignore'}
    height, visible = (np.array([row[name] for row in rows if not row['ignore']])
                       for name in ('height', 'vis_ratio'))
    assert (height < 50).sum() > 5  # ignored by all setups but one
    assert ((height >= 50) & (height <= 75) & (visible >= .65)).sum() > 5
    assert ((height >= 50) & (visible >= .2) & (visible < .65)).sum() > 5
    assert ((height >= 50) & (visible >= .65)).sum() > 50


def test_people_keep_their_size_in_larger_pictures(tmp_path):
    heights = []
    for name, size in (('small', (256, 512)), ('large', (512, 1024))):
        write_citypersons(tmp_path / name, 'val', 4, size=size, workers=1, progress=False)
        heights.append(np.median([row['height'] for row in load(
            tmp_path / name / 'val_gt.json')['annotations']]))
    assert .7 < heights[0] / heights[1] < 1.4


def test_no_two_splits_or_seeds_share_people():
    seeds = [Split(Path(), name, 1, seed, (64, 64)).people_seed
             for seed in (0, 1, 2, 2**29 - 1) for name in ('train', 'val')]
    assert len(set(seeds)) == 8 and min(seeds) > 1000 and max(seeds) < 2**31
    assert draw_look(seeds[0], 0) != draw_look(seeds[1], 0)


@pytest.mark.slow
@pytest.mark.parametrize('layout', WRITERS)
def test_files_do_not_depend_on_the_number_of_workers(roots, layout, tmp_path, monkeypatch):
    monkeypatch.setattr(split_module, '_SHARD', 3)
    write(tmp_path, layout, 'val', workers=2)
    assert files_of(tmp_path).items() <= files_of(roots / layout).items()


@pytest.mark.parametrize('layout', WRITERS)
def test_files_do_not_depend_on_a_kill(roots, layout, tmp_path, monkeypatch):
    monkeypatch.setattr(split_module, '_SHARD', 3)
    write(tmp_path, layout, 'val')
    whole = files_of(tmp_path)
    assert whole.items() <= files_of(roots / layout).items()

    again, draw, drawn = tmp_path / 'again', shards._draw_range, []

    def killed_before(image):
        def run(one, images):
            if images[0] == image:
                raise KeyboardInterrupt
            drawn.append(images)
            return draw(one, images)
        return run

    monkeypatch.setattr(shards, '_draw_range', killed_before(3))
    with pytest.raises(KeyboardInterrupt):
        write(again, layout, 'val')
    monkeypatch.setattr(shards, '_draw_range', killed_before(None))
    write(again, layout, 'val')
    assert drawn == [range(3), range(3, 6), range(6, 8)]
    assert files_of(again) == whole
    write(again, layout, 'val')  # complete: nothing is drawn
    assert len(drawn) == 3


def test_a_kill_among_the_lists_of_cuhk_sysu_doubles_nothing(tmp_path, monkeypatch):
    def draw(folder, split):
        write_cuhk_sysu(tmp_path / folder, split, 6, size=(64, 96), num_people=(2, 3), workers=1,
                        progress=False)

    for split in ('train', 'val'):
        draw('whole', split)
    write_file = matlab.write

    def killed(path, content):
        if path.name == 'pool.mat':
            raise KeyboardInterrupt
        write_file(path, content)

    monkeypatch.setattr(matlab, 'write', killed)
    with pytest.raises(KeyboardInterrupt):
        draw('again', 'val')  # in another order, too
    monkeypatch.setattr(matlab, 'write', write_file)
    for split in ('val', 'train'):
        draw('again', split)
    assert files_of(tmp_path / 'again') == files_of(tmp_path / 'whole')


@pytest.mark.parametrize('layout', WRITERS)
def test_never_overwrites_what_it_did_not_write(roots, layout, tmp_path):
    with pytest.raises(ValueError, match='seed is 0 there, 1 here'):
        write(roots / layout, layout, 'val', seed=1)
    real = tmp_path / {'coco': 'val2017', 'lip': 'val_images',
                       'citypersons': 'leftImg8bit/val'}[layout]
    real.mkdir(parents=True)
    with pytest.raises(ValueError, match=f'holds .*{real.name}, not written by this function'):
        write(tmp_path, layout, 'val')


@pytest.mark.parametrize('change, words', [
    (dict(split='test'), "'test'"), (dict(num_images=0), 'num_images'), (dict(seed=-1), '-1'),
    (dict(size=(16, 64)), 'size'), (dict(num_people=(0, 3)), 'num_people'),
    (dict(workers=0), 'workers')])
def test_wrong_arguments(change, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        write_coco_keypoints(**{'out_dir': tmp_path, 'split': 'val', 'num_images': 1, **change})
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize('layout', WRITERS)
def test_tool(roots, layout, tmp_path, monkeypatch):
    tool = Path(__file__).parents[2] / 'tools' / 'make_synthetic_data.py'

    def run(*more):
        monkeypatch.setattr(sys, 'argv', [str(tool), str(tmp_path), '--format', layout,
                                          '--workers', '1', *map(str, more)])
        runpy.run_path(str(tool), run_name='__main__')

    run('--split', 'val', '--images', IMAGES, '--size', *SIZE[layout])
    assert files_of(tmp_path).items() <= files_of(roots / layout).items()
    with pytest.raises(SystemExit):
        run('--identities', 3)

"""Predictions of the hosts' tasks are those of the hosts' own functions, one image at a time."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip('mmpose', reason='needs mmpose: bash tools/setup.sh')

import torch
from mmengine.registry import DefaultScope

import clasp_mm
from benchmarks.inference import random_model
from clasp_mm.utils.resources import shipped_file


@pytest.fixture(autouse=True)
def fresh_scope():
    """The hosts' functions set the default scope of the process."""
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture(scope='module')
def pictures():
    """Two of one size, and one of another between them."""
    rng = np.random.default_rng(0)
    return [cv2.resize(rng.integers(0, 256, (9, 12, 3), np.uint8), size, interpolation=1)
            for size in ((160, 120), (120, 130), (160, 120))]


@pytest.fixture(scope='module')
def infer(tmp_path_factory):
    made = {}

    def build(task):
        if task not in made:
            config = next(shipped_file('configs/quickstart').glob(f'{task}_*.py'))
            files = random_model(config, tmp_path_factory.mktemp(task))
            made[task] = clasp_mm.Inferencer(task, *files)
            made[task].files = files
        return made[task]
    return build


def test_pose_is_mmpose_s(infer, pictures):
    from mmpose.apis import inference_topdown
    run = infer('pose')
    boxes = [[[10, 10, 60, 110], [40, 0, 90, 100]], [], [[0, 0, 160, 120]]]
    for size in (1, 2, 32):
        found = run(pictures, boxes=boxes, batch_size=size)
        assert [len(entry['keypoints']) for entry in found] == [2, 0, 1]
        for entry, picture, own in zip(found, pictures, boxes, strict=True):
            for number, box in enumerate(own):
                expected, = inference_topdown(run.model, picture, np.array([box], np.float32))
                np.testing.assert_allclose(
                    entry['keypoints'][number], expected.pred_instances.keypoints[0], atol=1e-2)


def test_parsing_is_mmseg_s(infer, pictures):
    from mmseg.apis import inference_model
    run = infer('parsing')
    with DefaultScope.overwrite_default_scope('mmseg'):
        expected = [inference_model(run.model, picture).pred_sem_seg.data[0].numpy()
                    for picture in pictures]
    for size in (1, 8):
        for entry, labels in zip(run(pictures, batch_size=size), expected, strict=True):
            assert entry['labels'].shape == labels.shape
            assert (entry['labels'] == labels).mean() > .999


def test_parts_of_own_boxes_are_those_of_the_crops(infer, pictures, tmp_path):
    run = infer('parsing')
    first, second = run(pictures[0], boxes=[[[10, 20, 60, 110], [90, 0, 200, 50]]],
                        out_dir=tmp_path)
    for entry, piece in ((first, pictures[0][20:110, 10:60]), (second, pictures[0][:50, 90:])):
        assert (entry['labels'] == run(piece)[0]['labels']).all()
    listed = json.loads((tmp_path / 'predictions.json').read_text())
    assert [entry['labels'] for entry in listed] == [
        '000000_box0_labels.png', '000000_box1_labels.png']
    picture = cv2.imread(str(tmp_path / '000000_box1.jpg'))  # 50 x 70 above and beside its legend
    assert len(picture) > 50 and (picture[:46, 80:] > 240).all()
    assert (picture[:48, :70].min(-1) < 240).any(0).all()


def test_detection_is_mmdet_s(infer, pictures):
    from mmdet.apis import inference_detector
    run = infer('detection')
    with DefaultScope.overwrite_default_scope('mmdet'):
        expected = [one.pred_instances for one in inference_detector(run.model, pictures)]
    for size in (1, 4):
        for entry, boxes in zip(run(pictures, batch_size=size), expected, strict=True):
            sides = boxes.bboxes[:, 2:] - boxes.bboxes[:, :2]
            boxes = boxes[(sides > 0).all(1)]  # some lie on the image's edge, without area
            assert len(entry['boxes']) == len(boxes) > 0
            np.testing.assert_allclose(entry['scores'], boxes.scores.numpy(), atol=1e-4)
    with pytest.raises(ValueError, match='boxes= goes with pose'):
        run(pictures, boxes=[[], [], []])


@pytest.mark.parametrize('task', ['detection', 'person_search'])
def test_boxes_put_out_have_an_area_in_the_image(infer, pictures, monkeypatch, task):
    """Whatever the host's model gives: empty, outside, turned round or not finite."""
    from mmengine.structures import InstanceData
    run = infer(task)
    boxes = torch.tensor([[10., 10, 60, 110], [160, 3, 160, 40], [-9, 0, 0, 50], [50, 9, 40, 90],
                          [0, 0, float('nan'), 9], [-5, -5, 20, 20]])
    found = InstanceData(bboxes=boxes, scores=torch.arange(6.) / 10, labels=torch.zeros(6).long(),
                         features=torch.eye(6))
    monkeypatch.setattr(f'clasp_mm.inferencers.{task}.predict_batches',
                        lambda *_: [SimpleNamespace(pred_instances=found)])
    entry, = run(pictures[0])
    assert entry['boxes'].tolist() == [[10, 10, 60, 110], [-5, -5, 20, 20]]
    assert entry['scores'] == pytest.approx([0, .5])
    if task == 'person_search':
        assert entry['features'].argmax(1).tolist() == [0, 5]


@pytest.mark.parametrize('task, skips', [
    ('pose', False), ('parsing', False), ('detection', True), ('person_search', True)])
def test_strips_are_drawn_or_skipped(infer, pictures, tmp_path, task, skips):
    """A 3000 x 2 picture has no row left at these models' sizes; one of 1 x 1 has."""
    for name, picture in (('a', pictures[0]), ('b', pictures[0][:1, :1]), ('c', pictures[1]),
                          ('strip', np.resize(pictures[0], (2, 3000, 3)))):
        cv2.imwrite(str(tmp_path / f'{name}.png'), picture)
    found = infer(task)(tmp_path, out_dir=tmp_path / 'out', min_score=0., batch_size=4)
    assert [entry['file'] for entry in found] == ['a.png', 'b.png', 'c.png', 'strip.png'][
        :3 if skips else 4]
    assert list(found.skipped) == ['strip.png'] * skips
    assert {path.stem for path in (tmp_path / 'out').glob('*.jpg')} >= {'a', 'b', 'c'}
    if skips:
        assert '3000x2 pixels cannot be brought' in found.skipped['strip.png']
        assert (found[0]['boxes'] == infer(task)(pictures[0])[0]['boxes']).all()


def test_pose_skips_what_the_detection_of_its_boxes_skipped(infer, pictures, tmp_path):
    (tmp_path / 'mix').mkdir()
    for name, picture in (('a', pictures[0]), ('strip', np.resize(pictures[0], (2, 3000, 3)))):
        cv2.imwrite(str(tmp_path / f'mix/{name}.png'), picture)
    (tmp_path / 'mix/broken.jpg').write_bytes(b'no image')
    first = infer('detection')(tmp_path / 'mix', out_dir=tmp_path / 'found')
    found = infer('pose')(tmp_path / 'mix', boxes=tmp_path / 'found/predictions.json', min_score=0.)
    assert list(first.skipped) == list(found.skipped) == ['broken.jpg', 'strip.png']
    assert [entry['file'] for entry in found] == ['a.png']
    assert len(found[0]['keypoints']) == len(first[0]['boxes']) > 0


def test_models_of_all_hosts_leave_the_default_scope_alone(infer, pictures):
    DefaultScope._instance_dict.clear()
    DefaultScope.get_instance('mine', scope_name='mmpretrain')
    for task in ('pose', 'parsing', 'detection', 'person_search'):
        clasp_mm.Inferencer(task, *infer(task).files)(pictures[0])
        assert DefaultScope.get_current_instance().scope_name == 'mmpretrain'


def test_person_search_of_own_boxes(infer, pictures):
    run = infer('person_search')
    boxes = [[[10, 10, 60, 110], [40, 0, 90, 100]], [[5, 5, 50, 100]], []]
    found = run(pictures, boxes=boxes, query=(pictures[0], boxes[0][1]), batch_size=2)
    assert [entry['boxes'].shape for entry in found] == [(2, 4), (1, 4), (0, 4)]
    assert found[0]['boxes'][0].tolist() == boxes[0][1]  # itself first
    assert found[0]['similarity'][0] == pytest.approx(1, abs=1e-4)
    mixed = run(pictures, boxes=[None, boxes[1], None], batch_size=2)  # None: find them
    assert len(mixed[0]['boxes']) == len(run(pictures[0])[0]['boxes']) > 1
    assert mixed[1]['boxes'].tolist() == boxes[1]
    vector = found[0]['features'][0]
    again = run(pictures[1], boxes=[boxes[1]], query=vector)
    assert again[0]['similarity'] == pytest.approx(found[1]['similarity'], abs=1e-4)


TASKS = ('pose', 'parsing', 'detection', 'person_search', 'reid', 'attribute')


def distance(task, one, other):
    """What an entry in bfloat16 is off that in float32, and the most that it may be."""
    if task == 'parsing':  # share of pixels whose class changes
        return (one['labels'] != other['labels']).mean(), .03
    if task == 'attribute':
        return np.abs(one['probabilities'] - other['probabilities']).max(), .01
    if task == 'reid':
        return 1 - one['feature'] @ other['feature'], 2e-4
    if task == 'person_search':  # of given boxes
        return 1 - (one['features'] * other['features']).sum(1).min(), 2e-3
    if task == 'pose':  # pixels; a cell of the 12 heatmap columns is 1.25 * 160 / 12 = 16.7
        assert np.abs(one['keypoint_scores'] - other['keypoint_scores']).max() < .002
        apart = np.abs(one['keypoints'] - other['keypoints']).max(2)
        return np.quantile(apart, .8), 16.7  # random maps are flat: some maxima jump
    apart = np.abs(one['boxes'][:, None] - other['boxes']).max(2).min(1)  # pixels, to the nearest
    return np.quantile(apart, .9), 1.


@pytest.mark.parametrize('task', TASKS)
def test_bfloat16_is_near_float32_and_comes_out_as_float32(infer, pictures, task):
    run = infer(task)
    people = [[[10, 10, 60, 110], [40, 0, 90, 100]]] * 3
    boxes = dict(boxes=people) if task == 'person_search' else {}
    seen = []
    hook = run.model.backbone.register_forward_hook(lambda *args: seen.append(args[2][-1].dtype))
    try:
        found = {}
        for run.model.amp in (None, False, True):
            found[run.model.amp] = run(pictures, **boxes, batch_size=4)
    finally:
        run.model.amp = None
        hook.remove()
    assert set(seen[:len(seen) * 2 // 3]) == {torch.float32} and seen[-1] == torch.bfloat16
    for plain, exact, fast in zip(*found.values(), strict=True):
        for key, value in exact.items():
            if isinstance(value, np.ndarray):
                assert value.dtype == fast[key].dtype != np.float64, key
                assert (plain[key] == value).all()  # on the CPU float32 is the default
        off, most = distance(task, exact, fast)
        assert 0 < off + (task in ('pose', 'parsing')) and off < most, (task, off)


def test_images_of_one_padded_size_share_a_forward(infer, monkeypatch):
    """Of sides 64x96, 90x64 and 60x90 the first and the last are padded to 64x96."""
    from clasp_mm.inferencers import batches
    run = infer('detection')
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), np.uint8)
              for size in ((64, 96), (90, 64), (60, 90), (90, 64), (60, 90))]

    def prepare(model, image, img_id=0):
        from mmdet.structures import DetDataSample
        sample = DetDataSample(metainfo=dict(
            img_id=0, ori_shape=image.shape[:2], img_shape=image.shape[:2], scale_factor=(1., 1.)))
        return dict(inputs=torch.from_numpy(image).permute(2, 0, 1), data_samples=sample)

    monkeypatch.setattr('clasp_mm.inferencers.detection.prepare', prepare)
    monkeypatch.setattr(run.model.data_preprocessor, 'pad_size_divisor', 32)
    shapes, test_step = [], run.model.test_step
    monkeypatch.setattr(run.model, 'test_step', lambda data: (
        shapes.append([tuple(one.shape[1:]) for one in data['inputs']]), test_step(data))[1])
    found = run(images, batch_size=4)
    assert shapes == [[(64, 96), (60, 90), (60, 90)], [(90, 64), (90, 64)]]
    for entry, image in zip(found, images, strict=True):
        alone, = run(image)
        for key in ('boxes', 'scores'):
            np.testing.assert_allclose(entry[key], alone[key], atol=1e-5, rtol=1e-5)
    sizes = torch.tensor([3, 5, 3, 3, 5, 3, 3, 3, 3, 3, 3, 3])

    def samples():
        for size in sizes.tolist():
            taken.append(size)
            yield dict(inputs=torch.zeros(3, size, 32 * size))
    monkeypatch.setattr(batches, '_forward', lambda model, batch: [
        tuple(one['inputs'].shape) for one in batch])
    for batch_size in (1, 2, 3):
        taken, given = [], 0
        for shape in batches.predict_batches(run.model, samples(), batch_size):
            assert shape[1] == sizes[given] and len(taken) - given <= 4 * batch_size + 1
            given += 1
        assert given == len(sizes)

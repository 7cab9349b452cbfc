import json
import runpy
import sys

import cv2
import numpy as np
import pytest

pytest.importorskip('mmpose', reason='needs mmpose: bash tools/setup.sh')

import torch

import clasp_mm
from clasp_mm.compat import load_file
from clasp_mm.inferencers import pose
from clasp_mm.inferencers.boxes import read_boxes
from clasp_mm.inferencers.inputs import find_inputs
from tests.source_tree import ROOT


@pytest.fixture(scope='module')
def model(fine_tuned):
    return pose.load(*fine_tuned)


@pytest.fixture
def demo(monkeypatch, fine_tuned, tmp_path):
    """Call tools/demo.py; returns what its predictions.json holds."""
    def call(*arguments):
        monkeypatch.setattr(sys, 'argv', [
            'demo.py', *map(str, arguments), '--config', str(fine_tuned[0]), '--checkpoint',
            str(fine_tuned[1]), '--out', str(tmp_path / 'out')])
        runpy.run_path(str(ROOT / 'tools/demo.py'), run_name='__main__')
        return json.loads((tmp_path / 'out/predictions.json').read_text())
    return call


def test_keypoints_move_with_the_person(model, picture):
    box = np.array([[40., 20., 90., 120.]])
    wide = np.zeros((200, 300, 3), np.uint8)
    wide[30:30 + picture.shape[0], 50:50 + picture.shape[1]] = picture
    small = np.zeros_like(wide)
    small[:picture.shape[0], :picture.shape[1]] = picture
    here, there = pose.predict(model, [small, wide], [box, box + np.array([50, 30, 50, 30])])
    assert here['keypoints'].shape == (1, 17, 2) and here['keypoint_scores'].shape == (1, 17)
    moved = there['keypoints'] - here['keypoints'] - (50, 30)
    # Pixels that differ: outside the picture on the left and above.
    assert np.median(abs(moved)) < .1


def test_people_are_predicted_one_by_one_or_together_alike(model, picture):
    boxes = np.array([[0., 0., 60., 120.], [40., 20., 90., 120.], [90., 5., 155., 125.]])
    together, = pose.predict(model, [picture], [boxes])
    parts, = pose.predict(model, [picture], [boxes], batch_size=2)
    single, = pose.predict(model, [picture], [boxes[1:2]])
    for key in together:
        np.testing.assert_allclose(parts[key], together[key], atol=1e-3)
        np.testing.assert_allclose(single[key], together[key][1:2], atol=1e-3)


def test_without_boxes_the_image_is_the_person(model, picture):
    whole, = pose.predict(model, [picture])
    height, width = picture.shape[:2]
    given, = pose.predict(model, [picture], [[[0, 0, width, height]]])
    assert all((whole[key] == given[key]).all() for key in whole)
    nobody, = pose.predict(model, [picture], [[]])
    assert nobody['keypoints'].shape == (0, 17, 2) and nobody['boxes'].shape == (0, 4)
    assert (pose.draw(picture, nobody) == picture).all()


@pytest.mark.parametrize('box', [
    [10, 10, 10, 50], [10, 50, 40, 20], [500, 10, 600, 90], [-50, 0, 0, 50],
    [10, 10, float('nan'), 50]])
def test_a_bad_box_is_named(model, picture, box):
    with pytest.raises(ValueError, match=r'box \[.*no area inside the image of 160x128 pixels'):
        pose.predict(model, [picture], [[[0, 0, 50, 50], box]])


def test_drawing_marks_sure_keypoints_where_they_are(picture):
    keypoints = np.full((1, 17, 2), 20.)
    keypoints[0, 9], keypoints[0, 10] = (100, 60), (140, 100)
    scores = np.zeros((1, 17))
    scores[0, 9] = .9
    result = dict(boxes=np.zeros((0, 4)), keypoints=keypoints, keypoint_scores=scores)
    before = picture.copy()
    changed = (pose.draw(picture, result, min_score=.5) != picture).any(2)
    rows, columns = np.nonzero(changed)
    assert changed[60, 100] and (picture == before).all()
    assert abs(rows - 60).max() <= 5 and abs(columns - 100).max() <= 5
    assert not (pose.draw(picture, result, min_score=.95) != picture).any()


def test_a_checkpoint_that_does_not_fit_is_an_error(fine_tuned, tmp_path):
    config, path = fine_tuned
    state = load_file(path)['state_dict']
    stem = 'backbone.patch_embed.projection.weight'
    cases = {
        'head key': ({k: v for k, v in state.items() if k != 'head.final_layer.bias'},
                     '(?s)1 missing: head.final_layer.bias'),
        'architecture': (state | {stem: torch.zeros(4, 3, 4, 4)},
                         r'(?s)1 of another shape: backbone.patch_embed.*file \[4, 3, 4, 4\], '
                         r'model \[32, 3, 4, 4\]'),
        'another model': (state | {'neck.weight': torch.zeros(1)}, '1 not in the model: neck'),
        'backbone': ({k: v for k, v in state.items() if k.startswith('backbone.')},
                     '(?s)missing: head.*fine-tune it')}
    for name, (content, message) in cases.items():
        file = tmp_path / f'{name}.pth'
        torch.save(dict(state_dict=content), file)
        with pytest.raises(ValueError, match=message):
            pose.load(config, file)
    torch.save([1], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match='no checkpoint of a run'):
        pose.load(config, tmp_path / 'list.pth')
    with pytest.raises(FileNotFoundError):
        pose.load(config, tmp_path / 'none.pth')


def test_demo_of_a_folder_with_boxes(demo, coco, model, tmp_path, picture):
    folder = tmp_path / 'in'
    (folder / 'sub').mkdir(parents=True)
    cv2.imwrite(str(folder / 'a.png'), picture)
    cv2.imwrite(str(folder / 'sub/b.png'), picture)
    boxes = [dict(file='a.png', boxes=[[40, 20, 90, 120], [0, 0, 60, 120]], scores=[.9, .1]),
             dict(file='sub/b.png', boxes=[])]
    (tmp_path / 'boxes.json').write_text(json.dumps(boxes))
    first, second = demo('pose', folder, '--boxes', tmp_path / 'boxes.json')
    expected, = pose.predict(model, [picture], [[[40, 20, 90, 120]]])
    assert (first['file'], first['frame'], second['file']) == ('a.png', None, 'sub/b.png')
    np.testing.assert_allclose(first['keypoints'], expected['keypoints'], atol=1e-2)
    assert second['keypoints'] == []
    drawn = cv2.imread(str(tmp_path / 'out/a.jpg'))
    assert drawn.shape == picture.shape
    assert (tmp_path / 'out/sub/b.jpg').is_file()


def test_demo_of_a_video(demo, model, picture, tmp_path):
    video = tmp_path / 'walk.avi'
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*'MJPG'), 10, (160, 128))
    for shift in range(3):
        writer.write(np.roll(picture, 4 * shift, 1))
    writer.release()
    entries = demo('pose', video)
    assert [(entry['file'], entry['frame']) for entry in entries] == [
        ('walk.avi', number) for number in range(3)]
    assert entries[0]['keypoints'] != entries[2]['keypoints']
    drawn = cv2.VideoCapture(str(tmp_path / 'out/walk.mp4'))
    assert drawn.get(cv2.CAP_PROP_FPS) == 10 and drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        'predictions.json', 'walk.mp4']


@pytest.mark.parametrize('arguments, message', [
    (['pose', 'none.jpg'], 'no image, folder or video at none.jpg'),
    (['pose', 'empty'], 'no image or video below empty'),
    (['pose', 'text.jpg'], 'text.jpg: no known image format'),
    (['pose', 'text.mp4'], 'text.mp4: no video that OpenCV can read'),
    (['pose', 'a.png', 'sub/a.png'], 'would both be written as a.png'),
    (['pose', 'a.png', '--boxes', 'none.json'], 'no file of boxes at none.json'),
    (['pose', 'a.png', '--boxes', 'text.jpg'], 'is no list of'),
    (['pose', 'a.png', '--boxes', 'other.json'], 'other.json says nothing about a.png'),
])
def test_demo_stops_with_one_clear_message(demo, tmp_path, monkeypatch, picture, arguments,
                                           message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'sub').mkdir()
    for name in ('a.png', 'sub/a.png'):
        cv2.imwrite(name, picture)
    for name in ('text.jpg', 'text.mp4'):
        (tmp_path / name).write_text('text')
    (tmp_path / 'other.json').write_text('[{"file": "b.png", "boxes": []}]')
    with pytest.raises(SystemExit, match=message):
        demo(*arguments)


def test_boxes_of_a_file_without_area_are_left_out_and_counted(fine_tuned, picture, tmp_path,
                                                               monkeypatch):
    """As a detector may write them: at the image's edge, or empty."""
    cv2.imwrite(str(tmp_path / 'a.png'), picture)
    cv2.imwrite(str(tmp_path / 'b.png'), picture)
    good = [40., 20., 90., 120.]
    (tmp_path / 'predictions.json').write_text(json.dumps([
        dict(file='a.png', frame=None, boxes=[good, [160., 3., 160., 40.], [5., 5., 5., 5.]],
             scores=[.9, .8, .7]),
        dict(file='b.png', frame=None, boxes=[[float('nan'), 1., 2., 3.]], scores=[.6])]))
    said = []
    monkeypatch.setattr('clasp_mm.inferencers.inferencer.print_log',
                        lambda text, *_: said.append(text))
    run = clasp_mm.Inferencer('pose', *fine_tuned)
    first, second = run([tmp_path / 'a.png', tmp_path / 'b.png'],
                        boxes=tmp_path / 'predictions.json')
    assert first['boxes'].tolist() == [good] and len(second['boxes']) == 0
    text, = said
    assert text.startswith('3 boxes of ') and 'a.png [160.0, 3.0, 160.0, 40.0]' in text
    with pytest.raises(ValueError, match='no area inside the image'):  # the caller's own
        run(tmp_path / 'a.png', boxes=[[[5., 5., 5., 5.]]])


def test_none_for_an_image_is_the_whole_image(fine_tuned, model, picture):
    expected, = pose.predict(model, [picture])
    for found in (pose.predict(model, [picture], [None]),
                  clasp_mm.Inferencer('pose', *fine_tuned)(picture, boxes=[None])):
        assert found[0]['boxes'].tolist() == [[0, 0, 160, 128]]
        np.testing.assert_allclose(found[0]['keypoints'], expected['keypoints'], atol=1e-3)
    with pytest.raises(ValueError, match=r'boxes of shape \(\): x1, y1, x2, y2'):
        pose.predict(model, [picture], [3.])


@pytest.mark.parametrize('entry, message', [
    (dict(file='a.png', boxes=None), r'shape \(\).* in the entry .*a\.png'),
    (dict(file='a.png', boxes=[[1, 2, 3]]), r'shape \(1, 3\).* in the entry .*a\.png'),
    (dict(file='a.png', boxes=[[1, 2, 3, 4]] * 2, scores=[.5]),
     r'1 scores of 2 boxes in the entry .*a\.png'),
    (dict(boxes=[[1, 2, 3, 4]]), r"KeyError 'file' in the entry")])
def test_a_bad_entry_of_a_file_of_boxes_is_named(tmp_path, entry, message):
    (tmp_path / 'boxes.json').write_text(json.dumps([dict(file='0.png', boxes=[]), entry]))
    with pytest.raises(ValueError, match=message):
        read_boxes(tmp_path / 'boxes.json')


def test_boxes_of_a_frame_go_before_those_of_the_file(tmp_path):
    path = tmp_path / 'boxes.json'
    path.write_text(json.dumps([dict(file='v.mp4', boxes=[[0, 0, 1, 1]]),
                                dict(file='v.mp4', frame=2, boxes=[[0, 0, 2, 2]])]))
    boxes = read_boxes(path)
    assert set(boxes) == {('v.mp4', None), ('v.mp4', 2)}
    assert boxes['v.mp4', 2].tolist() == [[0, 0, 2, 2]]


def test_folders_are_searched_and_other_files_passed_over(tmp_path):
    (tmp_path / 'a').mkdir()
    for name in ('x.JPG', 'a/y.mp4', 'a/z.txt'):
        (tmp_path / name).touch()
    assert list(find_inputs([tmp_path])) == ['a/y.mp4', 'x.JPG']



"""What comes in: several files or arrays, damaged videos, boxes of a file."""

import json
import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

import clasp_mm
from clasp_mm.inferencers import attribute, inputs
from clasp_mm.inferencers.boxes import KnownBoxes, read_boxes
from clasp_mm.inferencers.inputs import find_inputs, read_frames
from tests.test_inferencers.test_inferencer import build, write_video


@pytest.fixture(scope='module')
def recogniser(tmp_path_factory):
    return clasp_mm.Inferencer('attribute', *build('attribute', tmp_path_factory.mktemp('model')))


@pytest.fixture
def picture():
    return cv2.resize(np.random.default_rng(0).integers(0, 256, (8, 4, 3), np.uint8), (32, 64),
                      interpolation=1)


@pytest.fixture
def folder(tmp_path, picture):
    (tmp_path / 'in').mkdir()
    for name in 'abc':
        cv2.imwrite(str(tmp_path / f'in/{name}.png'), picture)
    return tmp_path / 'in'


def test_any_iterable_of_paths_or_arrays_will_do(folder, picture):
    assert list(find_inputs(folder.glob('[ab].png'))) in (['a.png', 'b.png'], ['b.png', 'a.png'])
    assert list(find_inputs(one for one in (folder / 'c.png', picture))) == ['c.png', '000001']
    with pytest.raises(FileNotFoundError, match='no image, folder or video is given'):
        find_inputs(folder.glob('none'))


def test_what_is_neither_path_nor_array_is_named(folder):
    image = Image.open(folder / 'a.png')
    for given, kind in ((image, 'PngImageFile'), ([folder / 'a.png', image], 'PngImageFile'),
                        (None, 'NoneType'), (b'a.png', 'int')):
        with pytest.raises(TypeError, match=f'an image of type {kind}: give a path or an array'):
            find_inputs(given)


def test_a_file_that_is_given_twice_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'link').symlink_to(folder)
    for again in ('in/a.png', tmp_path / 'in/a.png', 'link/a.png'):
        with pytest.raises(ValueError, match=r'a\.png is given twice$'):
            find_inputs([folder, again])


def test_a_cut_video_keeps_its_frames_and_is_named(recogniser, tmp_path, said):
    whole, cut = tmp_path / 'whole.avi', tmp_path / 'cut.avi'
    write_video(whole, np.random.default_rng(0).integers(0, 256, (60, 64, 32, 3), np.uint8),
                'MJPG')
    cut.write_bytes(whole.read_bytes()[:whole.stat().st_size // 3])
    assert not recogniser(whole).skipped
    found = recogniser(cut, out_dir=tmp_path / 'out', batch_size=2)
    number = len(found)
    assert 5 < number < 40 and [entry['frame'] for entry in found] == list(range(number))
    line = f'{cut}: {number} of 60 frames could be read'
    assert found.skipped == {cut.name: line}
    assert (tmp_path / 'out/skipped_images.txt').read_text() == f'{line}\n'
    assert said[-1].startswith('1 of 1 inputs could not be read, wholly or in part, and that was '
                               f'skipped: {line}')
    assert len(json.loads((tmp_path / 'out/predictions.json').read_text())) == number
    drawn = cv2.VideoCapture(str(tmp_path / 'out/cut.mp4'))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == number


def test_a_whole_video_whose_form_tells_its_duration_is_not_named(tmp_path):
    """With sound that outlasts the pictures; Matroska's Duration is a float behind 44 89 88."""
    path = tmp_path / 'a.mkv'
    write_video(path, np.zeros((20, 64, 32, 3), np.uint8), 'mp4v')
    data = bytearray(path.read_bytes())
    place = data.index(b'\x44\x89\x88') + 3
    longer = struct.unpack('>d', data[place:place + 8])[0] + 400
    data[place:place + 8] = struct.pack('>d', longer)
    path.write_bytes(data)
    assert int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT)) > 22
    assert len(list(read_frames('a.mkv', path))) == 20


def test_a_header_may_be_off_by_two_frames(picture, tmp_path, monkeypatch):
    write_video(tmp_path / 'a.avi', [picture] * 5)
    capture = cv2.VideoCapture(str(tmp_path / 'a.avi'))
    told = SimpleNamespace(isOpened=lambda: True, read=capture.read, release=lambda: None,
                           get=lambda what: 7 if what == cv2.CAP_PROP_FRAME_COUNT else 10)
    monkeypatch.setattr(inputs.cv2, 'VideoCapture', lambda _: told)
    assert len(list(read_frames('a.avi', tmp_path / 'a.avi'))) == 5
    capture.open(str(tmp_path / 'a.avi'))
    told.get = lambda what: 8
    with pytest.raises(ValueError, match='5 of 8 frames could be read'):
        list(read_frames('a.avi', tmp_path / 'a.avi'))


def test_the_list_of_skips_is_of_the_last_run(recogniser, folder, tmp_path):
    listed = tmp_path / 'out/skipped_images.txt'
    (folder / 'd.png').write_bytes(b'no image')
    recogniser(folder, out_dir=tmp_path / 'out')
    assert 'd.png' in listed.read_text()
    recogniser(folder / 'a.png', out_dir=tmp_path / 'out')
    assert not listed.exists()


def test_images_without_boxes_are_named_before_the_first_forward(recogniser, folder, tmp_path,
                                                                 monkeypatch):
    monkeypatch.setattr(attribute, 'predict', lambda *_, **options: pytest.fail('a forward'))
    boxes = tmp_path / 'boxes.json'
    boxes.write_text(json.dumps([dict(file='a.png', boxes=[[0, 0, 9, 9]])]))
    for given in (boxes, {'a.png': [[0, 0, 9, 9]]}):
        with pytest.raises(ValueError, match=r'says nothing about b\.png, c\.png; give it'):
            recogniser(folder, boxes=given, batch_size=1)


def test_what_was_skipped_when_boxes_were_found_is_skipped(recogniser, folder, tmp_path):
    (folder / 'sub').mkdir()
    (folder / 'a.png').rename(folder / 'sub/b.png')
    boxes = tmp_path / 'predictions.json'
    boxes.write_text(json.dumps([dict(file='b.png', boxes=[[0, 0, 9, 9]])]))
    (tmp_path / 'skipped_images.txt').write_text(
        'c.png: too thin\nelsewhere/in/sub/b.png: no known image format\nin/gone.png: gone\n')
    found = recogniser(folder, boxes=boxes, out_dir=tmp_path / 'out')
    assert [entry['file'] for entry in found] == ['b.png']
    assert found.skipped == {
        'c.png': 'c.png: too thin, when predictions.json was written',
        'sub/b.png': 'elsewhere/in/sub/b.png: no known image format, when predictions.json was '
                     'written'}
    lines = (tmp_path / 'out/skipped_images.txt').read_text().splitlines()
    assert lines == list(found.skipped.values())
    boxes.write_text('[]')
    with pytest.raises(ValueError, match=r'says nothing about b\.png; give'):
        KnownBoxes(boxes, ['b.png', 'sub/b.png'])


def test_of_labelled_boxes_the_people_are_taken(tmp_path):
    path = tmp_path / 'boxes.json'
    entry = dict(file='a.jpg', boxes=[[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3], [0, 0, 4, 4]],
                 scores=[.9, .9, .1, .9], labels=[0, 17, 0, 0])
    path.write_text(json.dumps([entry]))
    assert read_boxes(path)['a.jpg', None].tolist() == [[0, 0, 1, 1], [0, 0, 4, 4]]
    for labels, message in (([0], '1 labels of 4 boxes'), (['person'] * 4, 'invalid literal')):
        path.write_text(json.dumps([entry | dict(labels=labels)]))
        with pytest.raises(ValueError, match=rf'{message}.* in the entry .*a\.jpg'):
            read_boxes(path)

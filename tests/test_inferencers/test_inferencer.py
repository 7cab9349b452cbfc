"""One call over tasks: inputs, boxes, skips, what is written, what is refused."""

import json
import os
import shutil
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config

import clasp_mm
from clasp_mm import cli
from clasp_mm.inferencers import attribute, inputs, reid
from clasp_mm.inferencers.boxes import crop, read_boxes
from clasp_mm.inferencers.outputs import check_overwrites, check_stems
from clasp_mm.inferencers.verification import calibrate
from clasp_mm.registry import MODELS
from clasp_mm.utils.files import file_hash
from clasp_mm.utils.resources import shipped_file


def build(task, folder):
    """Config and checkpoint of the quickstart's nano with random weights."""
    from mmengine.registry import DefaultScope
    cfg = Config.fromfile(next(shipped_file('configs/quickstart').glob(f'{task}_*.py')))
    cfg.model.backbone.init_cfg = None
    cfg.dump(folder / f'{task}.py')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        model.init_weights()
    for name, buffer in model.named_buffers():
        if name.endswith('positive_ratios'):
            buffer.fill_(.3)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(cfg=cfg.pretty_text)),
               folder / f'{task}.pth')
    return folder / f'{task}.py', folder / f'{task}.pth'


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('models')
    return {task: build(task, folder) for task in ('reid', 'attribute')}


@pytest.fixture(scope='module')
def recogniser(files):
    return clasp_mm.Inferencer('attribute', *files['attribute'])


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return [cv2.resize(rng.integers(0, 256, (8, 4, 3), np.uint8), size, interpolation=1)
            for size in ((32, 64), (40, 90), (32, 64))]


@pytest.fixture
def folder(tmp_path, pictures):
    (tmp_path / 'in/sub').mkdir(parents=True)
    for name, picture in zip(('a.png', 'b.png', 'sub/c.png'), pictures, strict=True):
        cv2.imwrite(str(tmp_path / 'in' / name), picture)
    return tmp_path / 'in'


def test_paths_folders_and_arrays_are_alike(recogniser, files, folder, pictures):
    model = attribute.load(*files['attribute'])
    expected = [attribute.predict(model, [picture])[0]['probabilities'] for picture in pictures]
    paths = [folder / 'a.png', str(folder / 'b.png'), folder / 'sub/c.png']
    for given, names in ((folder, ['a.png', 'b.png', 'sub/c.png']),
                         (paths, ['a.png', 'b.png', 'c.png']),
                         (pictures, ['000000', '000001', '000002']),
                         ([paths[0], pictures[1], paths[2]], ['a.png', '000001', 'c.png'])):
        for size in (1, 2, 64):
            found = recogniser(given, batch_size=size)
            assert [entry['file'] for entry in found] == names and not found.skipped
            np.testing.assert_allclose([one['probabilities'] for one in found], expected, atol=1e-5)
    one, = recogniser(folder / 'b.png')
    assert one['frame'] is None and np.ptp(expected[1] - one['probabilities']) < 1e-5
    single, = recogniser(pictures[1])
    stack = recogniser(np.stack([pictures[0], pictures[2]]))
    np.testing.assert_allclose([single['probabilities'], stack[1]['probabilities']], expected[1:],
                               atol=1e-5)


def test_unreadable_entries_are_skipped_counted_and_named(recogniser, folder, tmp_path):
    (folder / 'broken.jpg').write_bytes(b'no image')
    (folder / 'clip.mp4').write_bytes(b'no video')
    paths = [*sorted(folder.glob('*.*')), folder / 'missing.jpg']
    found = recogniser(paths, out_dir=tmp_path / 'out')
    assert [entry['file'] for entry in found] == ['a.png', 'b.png']
    assert set(found.skipped) == {'broken.jpg', 'clip.mp4', 'missing.jpg'}
    assert found.skipped['broken.jpg'] == f'{folder}/broken.jpg: no known image format'
    lines = (tmp_path / 'out/skipped_images.txt').read_text().splitlines()
    assert [Path(line.split(':')[0]).name for line in lines] == list(found.skipped)
    assert not recogniser(folder / 'a.png').skipped
    with pytest.raises(ValueError, match=r'none of 2 images can be read; the first: .*broken'):
        recogniser([folder / 'broken.jpg', folder / 'clip.mp4'])
    with pytest.raises(FileNotFoundError, match=r'no image, folder or video at'):
        recogniser(folder / 'missing.jpg')


def test_the_count_of_skips_is_reported_once_at_the_end(recogniser, folder, monkeypatch):
    (folder / 'broken.jpg').write_bytes(b'no image')
    said = []
    monkeypatch.setattr('clasp_mm.inferencers.inferencer.print_log',
                        lambda text, *_: said.append(text))
    stream = recogniser.stream(folder, batch_size=1)
    assert [next(stream)['file'] for _ in range(3)][-1] == 'sub/c.png' and not said
    assert list(stream) == [] and len(said) == 1
    assert said[0].startswith('1 of 4 inputs could not be read, wholly or in part, and that was '
                              f'skipped: {folder}/broken.jpg: ')


def test_own_boxes_are_cut_out(recogniser, folder, pictures, tmp_path):
    boxes = [[[2, 3, 20, 50], [-5, 10.5, 20, 40]], [], [[0, 0, 32, 64]]]
    found = recogniser(folder, boxes=boxes, out_dir=tmp_path / 'out')
    assert [entry['file'] for entry in found] == ['a.png', 'a.png', 'sub/c.png']
    assert found[1]['box'].tolist() == boxes[0][1]
    cut = [pictures[0][3:50, 2:20], pictures[0][10:40, :20], pictures[2]]
    assert (crop(pictures[0], np.array(boxes[0][1], np.float32)) == cut[1]).all()
    expected = [one['probabilities'] for one in recogniser(cut)]
    np.testing.assert_allclose([one['probabilities'] for one in found], expected, atol=1e-5)
    listed = json.loads((tmp_path / 'out/predictions.json').read_text())
    assert listed[1]['box'] == boxes[0][1] and listed[0]['attributes'] == found[0][
        'attributes'].tolist()
    assert sorted(path.name for path in (tmp_path / 'out').glob('**/*.jpg')) == [
        'a_box0.jpg', 'a_box1.jpg', 'c_box0.jpg']
    mapped = recogniser(folder / 'a.png', boxes={'a.png': boxes[0]})
    assert len(mapped) == 2
    with pytest.raises(ValueError, match=r'boxes of 2 images for 3 images'):
        recogniser(folder, boxes=boxes[:2])
    with pytest.raises(ValueError, match=r'no area inside the image of 32x64'):
        recogniser(pictures[0], boxes=[[[40, 0, 50, 10]]])
    with pytest.raises(ValueError, match=r'boxes of shape \(1, 2, 2\)'):
        recogniser(pictures[0], boxes=[[[[0, 0], [9, 9]]]])
    with pytest.raises(ValueError, match=r'says nothing about a.png'):
        recogniser(folder / 'a.png', boxes={'b.png': []})


@pytest.mark.parametrize('shape, width', [
    ((64, 32), 216), ((1, 1), 432), ((2, 300), 432), ((2, 3000), 3000), ((3000, 2), 2),
    ((100, 200), 432)])
def test_a_strip_is_enlarged_to_no_more_width_than_height(shape, width):
    """26 attributes and a line take 27 x 16 = 432 pixels; beside the crop stand 190."""
    image = np.full((*shape, 3), 200, np.uint8)
    drawn = attribute.draw(image, dict(probabilities=np.linspace(0, 1, 26)))
    assert drawn.shape == (max(432, shape[0]), width + 190, 3)
    assert (drawn[0, :width] == 200).all()


def test_pictures_of_one_name_are_refused(recogniser, folder, pictures, tmp_path):
    cv2.imwrite(str(folder / 'a.bmp'), pictures[0])
    assert len(recogniser(folder)) == 4
    with pytest.raises(ValueError, match=r'a\.bmp and a\.png would both be written as a\.jpg'):
        recogniser(folder, out_dir=tmp_path / 'out')


def test_inputs_are_not_overwritten(recogniser, files, folder, pictures, tmp_path, monkeypatch):
    cv2.imwrite(str(folder / 'd.jpg'), pictures[0])
    write_video(folder / 'walk.mp4', pictures[:1] * 2, 'mp4v')
    before = content(folder)
    (tmp_path / 'link').symlink_to(folder)
    monkeypatch.chdir(folder)
    for given, out in ((folder, folder), ('d.jpg', tmp_path / 'link'), ('walk.mp4', '.')):
        with pytest.raises(ValueError, match=f'{out} holds the inputs, which would be overwritten: '
                                             'name another folder'):
            recogniser(given, out_dir=out)
    run = clasp_mm.Inferencer('reid', *files['reid'])
    (tmp_path / 'queries').mkdir()
    (tmp_path / 'queries/d.png').write_bytes((folder / 'a.png').read_bytes())
    with pytest.raises(ValueError, match='holds the inputs'):
        run(tmp_path / 'queries', gallery=folder, out_dir=folder)
    assert content(folder) == before
    boxes = tmp_path / 'out/predictions.json'
    boxes.parent.mkdir()
    boxes.write_text(json.dumps([dict(file='a.png', boxes=[])]))
    with pytest.raises(ValueError, match='holds the inputs'):
        recogniser(folder / 'a.png', boxes=boxes, out_dir=boxes.parent)
    with pytest.raises(ValueError, match='holds the inputs'):
        check_overwrites(folder, ['a.png'], [folder / 'a.png', folder / 'a_labels.png'])
    recogniser(folder / 'a.png', out_dir=folder)
    assert set(content(folder)) - set(before) == {folder / 'a.jpg', folder / 'predictions.json'}


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_a_video_and_its_frames_are_refused_where_both_have_files(recogniser, folder, pictures,
                                                                  tmp_path):
    for stem in ('v_000000', 'v_1234567'):
        with pytest.raises(ValueError, match=f'{stem}.jpg and in a frame of sub/v.mp4'):
            check_stems([f'sub/{stem}.jpg', 'sub/v.mp4'], of_frames=True)
    check_stems(['sub/v_000000.jpg', 'v.mp4', 'v_000000.mp4', 'v_12.jpg'], of_frames=True)
    write_video(folder / 'v.mp4', pictures[:1], 'mp4v')
    cv2.imwrite(str(folder / 'v_000000.jpg'), pictures[0])
    paths = [folder / 'v.mp4', folder / 'v_000000.jpg']
    assert len(recogniser(paths, out_dir=tmp_path / 'whole')) == 2
    with pytest.raises(ValueError, match='run them apart'):
        recogniser(paths, boxes=[None] * 2, out_dir=tmp_path / 'crops')


def test_boxes_of_one_image_add_up(tmp_path):
    entries = [dict(file='a.jpg', boxes=[[0, 0, 1, 1]]), dict(file='b.jpg', boxes=[]),
               dict(file='a.jpg', boxes=[[0, 0, 2, 2], [0, 0, 3, 3]], scores=[.9, .1]),
               dict(file='a.jpg', frame=1, boxes=[[0, 0, 4, 4]]), dict(file='b.jpg', boxes=[])]
    (tmp_path / 'boxes.json').write_text(json.dumps(entries))
    found = read_boxes(tmp_path / 'boxes.json')
    assert {key: boxes.tolist() for key, boxes in found.items()} == {
        ('a.jpg', None): [[0, 0, 1, 1], [0, 0, 2, 2]], ('b.jpg', None): [],
        ('a.jpg', 1): [[0, 0, 4, 4]]}


@pytest.fixture
def shared(recogniser, folder, tmp_path, monkeypatch):
    """Does the share of one of two processes, an image a block."""
    monkeypatch.setattr(inputs, '_CHUNK_BATCHES', 1)

    def call(rank, source=folder, run=recogniser):
        return run(source, out_dir=tmp_path / 'out', batch_size=1, rank=rank, world_size=2)
    return call


def test_a_shared_run_sees_that_an_image_was_replaced(shared, recogniser, folder, pictures,
                                                      tmp_path):
    shared(0)
    old = (folder / 'a.png').stat()
    cv2.imwrite(str(folder / 'a.png'), pictures[1])
    os.utime(folder / 'a.png', ns=(old.st_atime_ns, old.st_mtime_ns + 1))
    shared(1)
    assert not (tmp_path / 'out/predictions.json').exists()
    shared(0)
    found = json.loads((tmp_path / 'out/predictions.json').read_text())
    np.testing.assert_allclose([entry['probabilities'] for entry in found],
                               [entry['probabilities'] for entry in recogniser(folder)], atol=1e-3)


def test_a_shared_run_of_another_config_starts_anew(shared, files, tmp_path):
    config, checkpoint = files['attribute']
    (tmp_path / 'other.py').write_text(f'{config.read_text()}\nother = 1\n')
    shared(0)
    shared(1, run=clasp_mm.Inferencer('attribute', tmp_path / 'other.py', checkpoint))
    assert not (tmp_path / 'out/predictions.json').exists()


def test_a_shared_run_that_reads_nothing_leaves_no_blocks(shared, tmp_path):
    (tmp_path / 'bad').mkdir()
    for name in 'ab':
        (tmp_path / f'bad/{name}.jpg').write_bytes(b'no image')
    shared(0, tmp_path / 'bad')
    with pytest.raises(ValueError, match='none of 2 images can be read'):
        shared(1, tmp_path / 'bad')
    assert not list((tmp_path / 'out').glob('.*.blocks'))


def test_the_demo_keeps_no_results(files, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(attribute, 'BATCH', 1)
    stream, seen = clasp_mm.Inferencer.stream, []

    def watched(*args, **options):
        for entry in stream(*args, **options):
            seen.append(weakref.ref(entry['probabilities']))
            yield entry
            del entry
    monkeypatch.setattr(clasp_mm.Inferencer, 'stream', watched)
    alive = []
    draw = attribute.draw
    monkeypatch.setattr(attribute, 'draw', lambda *args, **options: (
        alive.append([ref() is not None for ref in seen[:-1]]), draw(*args, **options))[1])
    config, checkpoint = map(str, files['attribute'])
    assert cli.main(['demo', 'attribute', str(folder), '--config', config, '--checkpoint',
                     checkpoint, '--out', str(tmp_path / 'out'), '--device', 'cpu']) == 0
    assert alive == [[], [], [False]] and f'{tmp_path}/out: 3 entries' in capsys.readouterr().out


def write_video(path, pictures, code='MJPG'):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 10, (32, 64))
    for picture in pictures:
        writer.write(picture)
    writer.release()


def test_a_video_without_frames_is_skipped_and_named(recogniser, folder, tmp_path):
    write_video(tmp_path / 'empty.avi', [])
    found = recogniser([folder / 'a.png', tmp_path / 'empty.avi'])
    assert [entry['file'] for entry in found] == ['a.png']
    assert found.skipped == {'empty.avi': f'{tmp_path}/empty.avi: a video without a frame that '
                                          'OpenCV can read'}
    with pytest.raises(ValueError, match='without a frame'):
        recogniser(tmp_path / 'empty.avi')


def test_a_video_may_have_a_colon_in_its_name(recogniser, pictures, tmp_path, monkeypatch):
    write_video(tmp_path / '12:30:00.mp4', pictures[:1], 'mp4v')
    monkeypatch.chdir(tmp_path)
    assert len(recogniser('12:30:00.mp4', out_dir='out:1')) == 1
    assert cv2.VideoCapture(str(tmp_path / 'out:1/12:30:00.mp4')).isOpened()


def test_a_video_is_drawn_whole(recogniser, pictures, tmp_path):
    video = tmp_path / 'walk.avi'
    write_video(video, [np.roll(pictures[0], 4 * shift, 1) for shift in range(5)])
    found = recogniser(video, out_dir=tmp_path / 'out', batch_size=2)
    assert [entry['frame'] for entry in found] == [0, 1, 2, 3, 4]
    drawn = cv2.VideoCapture(str(tmp_path / 'out/walk.mp4'))
    assert drawn.get(cv2.CAP_PROP_FPS) == 10 and drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    stream = recogniser.stream(video, out_dir=tmp_path / 'half', batch_size=2)
    next(stream)
    stream.close()
    assert not any((tmp_path / 'half').iterdir())  # half a video is none


def test_re_identification_searches_a_gallery(files, folder, pictures, tmp_path):
    run = clasp_mm.Inferencer('reid', *files['reid'])
    alone, = run(pictures[1])
    assert set(alone) == {'file', 'frame', 'feature'}
    index = clasp_mm.ReIDIndex.build(run.model, folder, progress=False)
    index.save(tmp_path / 'index.npz')
    for gallery in (folder, index, tmp_path / 'index.npz'):
        found, = run(pictures[1], gallery=gallery, out_dir=tmp_path / 'out')
        assert found['names'][0] == 'b.png' and found['distances'][0] < 1e-3
    assert (tmp_path / 'out/000000.jpg').is_file()


def test_models_of_the_zoo_are_named(files, folder, tmp_path, monkeypatch):
    config, checkpoint = files['reid']
    zoo = tmp_path / 'zoo'
    zoo.mkdir()
    weights = zoo / f'my-reid_20260101-{file_hash(checkpoint)}.pth'
    weights.write_bytes(checkpoint.read_bytes())
    (zoo / 'my-reid.py').write_text(config.read_text())
    entry = {'Name': 'my-reid', 'In Collection': 'mine', 'Config': 'my-reid.py', 'Results': None,
             'Weights': weights.name, 'Metadata': {
                 'Task': 'Re-identification', 'Host': 'mmpretrain', 'Training Data': 'drawn people',
                 'Data Licence': 'Apache-2.0', 'Recipe': 'none', 'Input Size': '64x32',
                 'Parameters': 1, 'FLOPs': 1}}
    (zoo / 'metafile.yml').write_text(yaml.safe_dump(dict(Models=[entry])))
    monkeypatch.setenv('CLASP_ZOO', str(zoo))
    found, = clasp_mm.inference('reid', folder / 'a.png', 'my-reid')
    expected, = reid.predict(reid.load(config, checkpoint), [cv2.imread(str(folder / 'a.png'))])
    np.testing.assert_allclose(found['feature'], expected['feature'], atol=1e-6)
    named, = reid.predict(reid.load('my-reid', 'my-reid'), [cv2.imread(str(folder / 'a.png'))])
    np.testing.assert_allclose(named['feature'], expected['feature'], atol=1e-6)
    for person in 'xy':
        shutil.copytree(folder, tmp_path / 'people' / person)
    calibrate('my-reid', 'my-reid', tmp_path / 'people', tmp_path / 'calibrated.pth', .5)
    assert clasp_mm.match(folder / 'a.png', folder / 'a.png', reid.load(
        'my-reid', tmp_path / 'calibrated.pth')).similarity == pytest.approx(1)
    with pytest.raises(ValueError, match=r"no model 'my-reidd' in the zoo.*my-reid"):
        reid.load('my-reidd', checkpoint)
    with pytest.raises(ValueError, match=r"no model 'my-reidd' in the zoo.*my-reid"):
        clasp_mm.inference('reid', folder, 'my-reidd')
    with pytest.raises(ValueError, match=r'my-reid\.py is a config of Re-.*, not of Attr'):
        clasp_mm.inference('attribute', folder, 'my-reid')


def test_a_run_s_checkpoint_finds_its_config(files, folder, tmp_path):
    config, checkpoint = files['reid']
    run = tmp_path / 'run'
    run.mkdir()
    shutil.copy(config, run / 'my_reid.py')
    shutil.copy(checkpoint, run / 'epoch_2.pth')
    found, = clasp_mm.Inferencer('reid', checkpoint=run / 'epoch_2.pth')(folder / 'a.png')
    expected, = clasp_mm.Inferencer('reid', config, checkpoint)(folder / 'a.png')
    assert (found['feature'] == expected['feature']).all()
    shutil.copy(config, run / 'other.py')
    with pytest.raises(FileNotFoundError, match=r'2 configs beside .*epoch_2\.pth; name the one'):
        clasp_mm.Inferencer('reid', checkpoint=run / 'epoch_2.pth')


def test_what_belongs_to_another_task_is_refused(files, recogniser, folder):
    config, checkpoint = files['attribute']
    with pytest.raises(ValueError, match=r'attribute.py is a config of Attr.*, not of Re-'):
        clasp_mm.inference('reid', folder, config, checkpoint)
    with pytest.raises(ValueError, match=r'reid\.pth is of another task, Re-id'):
        clasp_mm.inference('attribute', folder, config, files['reid'][1])
    with pytest.raises(ValueError, match=r"no task 'atribute'.*did you mean 'attribute'"):
        clasp_mm.inference('atribute', folder, config, checkpoint)
    with pytest.raises(ValueError, match=r'without weights: give checkpoint='):
        clasp_mm.inference('attribute', folder, config)
    with pytest.raises(FileNotFoundError, match=r'none.py'):
        clasp_mm.inference('attribute', folder, 'none.py', checkpoint)
    with pytest.raises(ValueError, match=r'gallery= goes with reid, not with attribute'):
        recogniser(folder, gallery=folder)
    with pytest.raises(ValueError, match=r'image 1 has shape \(5, 5\)'):
        recogniser([np.zeros((5, 5, 3), np.uint8), np.zeros((5, 5), np.uint8)])
    with pytest.raises(ValueError, match=r'batch_size=0'):
        recogniser(folder, batch_size=0)

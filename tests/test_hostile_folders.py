"""Every command that reads a folder: the same images, and no odd one ends it or goes unnamed."""

import csv
import json
import os
import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

import clasp_mm
from clasp_mm.analysis.choose_prompt import choose_prompt, read_labels
from clasp_mm.analysis.ranked_lists import write_ranked_page
from clasp_mm.analysis.run import write_expert_use
from clasp_mm.datasets import MSMT17, LUPerson, ReIDFolder, ReIDTable
from clasp_mm.datasets.labelled_folder import LabelledFolder
from clasp_mm.engine import ProbeHook
from clasp_mm.experiments.quickstart import run as quickstart
from clasp_mm.inferencers.gallery import ReIDIndex
from clasp_mm.inferencers.verification import calibrate
from clasp_mm.labelling.make_store import make_store
from clasp_mm.labelling.report import read_labelled_images, report_labels
from clasp_mm.models import PCMoESwin
from clasp_mm.search import FeatureIndex, backbone_encoder
from clasp_mm.search.embed import embed_images
from clasp_mm.zoo.passport import files_hash
from tests import hostile
from tests.test_inferencers.test_inferencer import build
from tests.test_pseudo_labels.fakes import make_labeler

READABLE, UNREADABLE = hostile.READABLE, hostile.UNREADABLE
SIZE = (32, 16)


@pytest.fixture
def tree(tmp_path):
    return hostile.make(tmp_path / 'tree')


@pytest.fixture
def classes(tmp_path):
    """The tree as one class of three."""
    hostile.make(tmp_path / 'classes/odd')
    shutil.rmtree(tmp_path / 'classes/odd_far/round', ignore_errors=True)
    for name in ('one', 'two', '.ipynb_checkpoints'):
        (tmp_path / 'classes' / name).mkdir()
        for i in range(4):
            cv2.imwrite(str(tmp_path / 'classes' / name / f'{i}.png'),
                        np.random.default_rng(i).integers(0, 255, (24, 12, 3), np.uint8))
    (tmp_path / 'classes/odd_far').rename(tmp_path / 'odd_far')
    for link in ('linked', 'zoom'):
        (tmp_path / 'classes/odd' / link).unlink()
        (tmp_path / 'classes/odd' / link).symlink_to(tmp_path / 'odd_far')
    (tmp_path / 'odd_far/round').unlink()
    return tmp_path / 'classes'


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('models')
    return {task: build(task, folder) for task in ('reid', 'attribute')}


@pytest.fixture(scope='module')
def backbone():
    torch.manual_seed(0)
    return PCMoESwin(arch=dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2)), strides=(4, 2),
                     window_size=4, out_indices=(1, ), task='part',
                     moe=dict(num_experts=3, top_k=2, expert_hidden=4)).eval()


def named_once(text, names=UNREADABLE):
    """Each name is told, with its reason, and the others are not."""
    assert all(text.count(f'{name}: ') == 1 for name in names), text
    assert not any(f'{name}: ' in text for name in READABLE if name.isascii()), text


def names_of(entries):
    return sorted((os.fsdecode(entry) for entry in entries), key=os.fsencode)


def test_training_data(tree):
    """Every image, of one pixel too, becomes crops; another takes the place of an odd one."""
    source = LUPerson(str(tree), pipeline=[
        dict(type='clasp_mm.MultiCrop', global_size=(32, 16), local_size=(16, 8), num_local=2),
        dict(type='clasp_mm.PackViews')])
    assert list(source.names) == hostile.NAMES
    for row, name in enumerate(hostile.NAMES):
        sample = source[row]
        skipped = sample['data_samples']['skipped'].split('\n')
        assert (skipped[0] == name) is (name in UNREADABLE) and set(skipped) <= {'', *UNREADABLE}
        assert [tuple(view.shape) for view in sample['inputs']] == [
            (3, 32, 16), (3, 32, 16), (3, 16, 8), (3, 16, 8)]


def test_embed(tree, tmp_path, backbone, said):
    found = embed_images(backbone, LUPerson(str(tree)), tmp_path / 'out/f.npy', SIZE,
                         num_workers=0, show_progress=False)
    assert found['num_images'] == len(READABLE) == len(np.load(tmp_path / 'out/f.npy'))
    lines = (tmp_path / 'out/f.names.txt').read_bytes().splitlines()
    assert [os.fsdecode(line) for line in lines] == READABLE
    assert [fault.split(':')[0] for fault in found['unreadable']] == UNREADABLE
    assert '3 of 18 images could not be read' in said[-1]
    named_once(said[-1])
    assert 'caf\\udce9.jpg' in (tmp_path / 'out/f.html').read_text('utf-8')


def test_search(tree, tmp_path, backbone):
    index = FeatureIndex(tmp_path / 'index', LUPerson(str(tree)),
                         backbone_encoder(backbone, SIZE, 'part'))
    found = index.update(num_workers=0, progress=False)
    assert (found.num_images, found.new) == (len(READABLE), len(READABLE))
    assert [fault.split(':')[0] for fault in found.unreadable] == UNREADABLE


@pytest.mark.parametrize('kind', ['attribute', 'reid'])
def test_inference(tree, tmp_path, files, kind, said):
    run, options = clasp_mm.Inferencer(kind, *files[kind]), {}
    if kind == 'reid':
        gallery = ReIDIndex.build(run.model, tree, progress=False)
        assert gallery.names == READABLE
        named_once(said[-1])
        gallery.save(tmp_path / 'g.npz')
        assert ReIDIndex.load(tmp_path / 'g.npz').names == READABLE
        options = dict(gallery=gallery)
    found = run(tree, out_dir=tmp_path / 'out', min_score=0., **options)
    assert [entry['file'] for entry in found] == READABLE
    assert list(found.skipped) == UNREADABLE
    named_once((tmp_path / 'out/skipped_images.txt').read_text('utf-8'))
    assert '3 of 18 inputs could not be read' in said[-1]
    listed = json.loads((tmp_path / 'out/predictions.json').read_text('utf-8'))
    assert [entry['file'] for entry in listed] == READABLE
    drawn = {path.stem for path in (tmp_path / 'out').rglob('*.jpg')}
    assert {'dot', 'strip', 'tall', os.fsdecode(b'caf\xe9')} < drawn


def test_a_video_whose_name_is_no_utf8_is_skipped(tree, files):
    """OpenCV would end the process."""
    os.link(tree / 'text.jpg', os.path.join(os.fsencode(tree), b'caf\xe9.mp4'))
    found = clasp_mm.Inferencer('attribute', *files['attribute'])(tree)
    assert 'rename it' in found.skipped[os.fsdecode(b'caf\xe9.mp4')]


def test_expert_use_of_a_folder_and_an_lmdb(tree, tmp_path, backbone, said):
    import lmdb
    write_expert_use(backbone, tree, tmp_path / 'one', SIZE)
    named_once(said[-1])
    (tmp_path / 'packed').mkdir()
    with lmdb.open(str(tmp_path / 'packed'), map_size=1 << 22) as environment, \
            environment.begin(write=True) as transaction:
        for name in hostile.NAMES:
            transaction.put(os.fsencode(name), (tree / name).read_bytes() or b'?')
    write_expert_use(backbone, tmp_path / 'packed', tmp_path / 'two', SIZE)
    named_once(said[-1])
    one, two = (json.loads((tmp_path / name / 'expert_use.json').read_text('utf-8'))['use']
                for name in ('one', 'two'))
    assert one == two


@pytest.mark.parametrize('packed', [False, True])
def test_quickstart_ends_with_odd_images(tree, tmp_path, backbone, monkeypatch, said, packed):
    """Its last stage, which every later call runs again."""
    import lmdb
    root = tree
    if packed:
        root = tmp_path / 'packed'
        root.mkdir()
        with lmdb.open(str(root), map_size=1 << 22) as environment, \
                environment.begin(write=True) as transaction:
            for name in hostile.NAMES:
                transaction.put(os.fsencode(name), (tree / name).read_bytes() or b'?')
    monkeypatch.setattr(quickstart, 'publish_once', lambda folder, name: folder / f'{name}.pth')
    monkeypatch.setattr(quickstart, 'get_model', lambda *_, **__: backbone)
    job = quickstart.Quickstart(quickstart.Options(tmp_path / 'work', images=root))
    assert job.evaluate(0, tmp_path)['expert_use']['part'].shape[1] == 3
    named_once(said[-1])
    monkeypatch.setattr(quickstart, 'make_store', lambda *_, **__: None)
    _, report, _ = job.label(tmp_path / 'seed', make_labeler())
    assert [fault.split(':')[0] for fault in report['unreadable']] == UNREADABLE


def test_labels_and_their_report(tree, tmp_path, said):
    source, labeler, unreadable = LUPerson(str(tree)), make_labeler(), []
    store = make_store(source, labeler, tmp_path / 'store', num_workers=0, show_progress=False)
    rows = [hostile.NAMES.index(name) for name in UNREADABLE]
    assert np.flatnonzero(store.arrays['status'] == 2).tolist() == rows
    assert [text for text in said if '3 of 18 images' in text and not named_once(text)]
    said.clear()
    images = read_labelled_images(source, unreadable=unreadable)
    found = report_labels(labeler, images, tmp_path / 'report', num_examples=99,
                          unreadable=unreadable)
    assert (found['num_images'], found['rejected']['unreadable']) == (len(READABLE), 3)
    named_once(said[-1])
    written = json.loads((tmp_path / 'report/report.json').read_text('utf-8'))
    assert [fault.split(':')[0] for fault in written['unreadable']] == UNREADABLE
    page = (tmp_path / 'report/report.html').read_text('utf-8')
    assert 'caf\\udce9.jpg' in page and len(page) < 3e6


def test_classes_are_no_hidden_folders(classes, backbone, said):
    found = LabelledFolder.read(classes)
    assert found.classes == ['odd', 'one', 'two']
    own = [path.removeprefix(f'{classes}/odd/') for path in found.paths[:len(hostile.NAMES)]]
    assert own == hostile.NAMES
    said.clear()
    hook = ProbeHook(str(classes), size=SIZE)
    model = SimpleNamespace(
        task=None, teacher=SimpleNamespace(backbone=lambda x, task: backbone(x, 'part')),
        data_preprocessor=lambda data: dict(inputs=[data['inputs'][0].float()]))
    _, known = hook.embed(model)
    assert known.sum() == len(READABLE) + 8
    named_once(said[-1])


def test_identities_are_no_hidden_folders(classes, tmp_path):
    classes.rename(tmp_path / 'train')
    data = ReIDFolder(str(tmp_path), 'train')
    assert data.metainfo['num_identities'] == 3
    paths = [os.path.relpath(data.get_data_info(i)['img_path'], tmp_path) for i in range(
        len(data))]
    assert names_of(paths[:len(hostile.NAMES)]) == names_of(
        f'train/odd/{name}' for name in hostile.NAMES)


def test_calibration(classes, files, tmp_path, said):
    found = calibrate(*files['reid'], classes, tmp_path / 'out.pth', false_match_rate=.1)
    count = len(READABLE)
    assert (found.num_people, found.num_same) == (3, count * (count - 1) // 2 + 2 * 6)
    named_once(said[-1])


def test_ranked_lists(classes, files, tmp_path, said, monkeypatch):
    for part in ('train', 'query', 'gallery'):
        shutil.copytree(classes, tmp_path / 'data' / part, symlinks=True,
                        ignore=shutil.ignore_patterns('pipe.jpg'))
    config = clasp_mm_config(files['reid'][0], tmp_path)
    write_ranked_page(config, files['reid'][1], tmp_path / 'ranked.html')
    text = next(text for text in said if 'images could not be read' in text)
    assert text.startswith('6 of 52 images')  # of query and gallery
    assert (tmp_path / 'ranked.html').read_text('utf-8').count('<h2>') >= 3


def clasp_mm_config(config, tmp_path):
    from mmengine.config import Config
    cfg = Config.fromfile(config)
    cfg.test_dataloader.dataset = dict(
        type='clasp_mm.ReIDFolder', data_root=str(tmp_path / 'data'), split='test',
        pipeline=cfg.test_pipeline)
    cfg.dump(tmp_path / 'own.py')
    return tmp_path / 'own.py'


def test_prompt_chooser(classes, backbone, tmp_path):
    labels = read_labels('classes', classes)
    choice = choose_prompt(backbone, labels, SIZE, resamples=10, progress=False)
    assert choice.num_images == len(READABLE) + 8
    named_once('\n'.join(choice.unreadable))
    json.dumps(choice.to_dict()).encode()


def test_tables_may_be_utf16(classes, tmp_path):
    rows = [['image', 'identity', 'class'], ['one/0.png', 'Jürgen', 'ä'], ['two/0.png', '行', 'b']]
    for encoding in ('utf-16', 'utf-8-sig', 'utf-8'):
        with open(tmp_path / 'table.csv', 'w', encoding=encoding, newline='') as file:
            csv.writer(file).writerows(rows)
        found = read_labels('classes', classes, tmp_path / 'table.csv')
        assert found.names == ('b', 'ä')
        (tmp_path / 'labels.csv').write_text(
            'image,identity,split,camera\none/0.png,Jürgen,train,2\n', encoding)
        shot, = ReIDTable(str(tmp_path), lazy_init=True).read('train')
        assert shot == ('one/0.png', 'Jürgen', 2)
        (tmp_path / 'train').mkdir(exist_ok=True)
        for name in ('list_train.txt', 'list_val.txt'):
            (tmp_path / name).write_text('0000/0000_003_01_ü_0015_0.jpg 7\n', encoding)
        assert [tuple(shot) for shot in MSMT17(str(tmp_path), lazy_init=True).read('train')] == [
            ('train/0000/0000_003_01_ü_0015_0.jpg', 7, 0)] * 2
    (tmp_path / 'table.csv').write_bytes('image,class\none/0.png,a\none/1.png,ä\n'.encode('cp1252'))
    with pytest.raises(ValueError, match=r'table\.csv:3: no utf-8 text, byte 0xe4'):
        read_labels('classes', classes, tmp_path / 'table.csv')


def test_publishing_hashes_any_name_and_follows_links(tree, tmp_path):
    whole = files_hash([tree])
    assert whole == files_hash([tree])  # of names and sizes, hidden and odd ones left out
    (tree / '.ipynb_checkpoints/more.jpg').write_bytes(b'?')
    (tree / 'nowhere.jpg').unlink()
    assert files_hash([tree]) == whole
    (tmp_path / 'tree_far/far.jpg').write_bytes(b'?')  # through a linked folder
    other = files_hash([tree])
    assert other not in (None, whole)
    os.rename(os.path.join(os.fsencode(tree), hostile.NOT_UTF8), tree / 'caf.jpg')
    assert files_hash([tree]) not in (None, whole, other)


class Strip(nn.Module):
    """A host's model whose pipeline scales the longer side to 8."""

    def pipeline(self, sample):
        height, width = sample['img'].shape[:2]
        zoom = 8 / max(height, width)
        image = cv2.resize(sample['img'], (int(width * zoom + .5), int(height * zoom + .5)))
        return dict(inputs=torch.from_numpy(image), data_samples=None)


def test_what_a_pipeline_cannot_scale_is_skipped_among_others(tree, files, monkeypatch):
    """As mmcv's resizing: of 3000x2 pixels at 8, no row is left."""
    from clasp_mm.inferencers.batches import prepare
    run = clasp_mm.Inferencer('attribute', *files['attribute'])
    model = Strip()

    def predict(_, images, batch_size):
        return [dict(shape=list(prepare(model, image)['inputs'].shape)) for image in images]

    monkeypatch.setattr(run, '_module', SimpleNamespace(BATCH=4, predict=predict))
    found = run(tree)
    assert [entry['file'] for entry in found] == [
        name for name in READABLE if name not in ('strip.png', 'tall.png')]
    assert found.skipped['strip.png'].startswith('strip.png: an image of 3000x2 pixels cannot be')
    with pytest.raises(ValueError, match=r'strip\.png: an image of 3000x2'):
        run(tree / 'strip.png')

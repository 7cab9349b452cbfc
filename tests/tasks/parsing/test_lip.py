"""The check of LIP, and what training says to files that are wrong."""

import runpy
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from clasp_mm.datasets.checks.lip import arrange_lip, check_lip
from clasp_mm.synthetic import LIP_PALETTE
from tests.source_tree import ROOT

LABELS = 'TrainVal_parsing_annotations/train_segmentations'


def spoil(root, what):
    """Make one thing wrong with image 2 of the train split."""
    label, image = root / LABELS / '2.png', root / 'train_images/2.jpg'
    known = cv2.imread(str(label), cv2.IMREAD_GRAYSCALE)
    if what == 'no map':
        label.unlink()
    elif what == 'no image':
        image.unlink()
    elif what == 'label 20':
        known[5, 5] = 20
        cv2.imwrite(str(label), known)
    elif what == 'colours':
        cv2.imwrite(str(label), np.array(LIP_PALETTE, np.uint8)[known][..., ::-1])
    elif what == 'size':
        cv2.imwrite(str(label), known[1:])
    elif what == 'cut':
        label.write_bytes(label.read_bytes()[:60])
    elif what == 'no list':
        (root / 'train_id.txt').unlink()
    elif what == 'twice':
        (root / 'train_id.txt').write_text('0\n1\n2\n2\n')
    elif what == 'a name with spaces':
        for path in (label, image):
            path.rename(path.with_stem('2 of  3'))
        (root / 'train_id.txt').write_text('0\n1\n2 of  3\n3\n')
    elif what == 'spaces and lines around names':
        (root / 'train_id.txt').write_bytes(b'\xef\xbb\xbf0\r\n1 \r\n\r\n2\r\n \t\r\n3')
    elif what.startswith('a rotated photograph'):
        stored = Image.open(image).rotate(90, expand=True)
        exif = Image.Exif()
        exif[0x0112] = 6  # "to be turned by 90 degrees clockwise"
        stored.save(image, exif=exif)
        if what.endswith('its map as stored'):
            cv2.imwrite(str(label), np.ascontiguousarray(np.rot90(known)))
    elif what == 'an image of text':
        image.write_text('no image')
    elif what == 'an empty image':
        image.write_bytes(b'')


@pytest.mark.parametrize('what, words', [
    ('no map', '1 of train_id.txt are missing in train_segmentations/: 2'),
    ('no image', '1 of train_id.txt are missing in train_images/: 2'),
    ('label 20', '2 (label 20 at 1 pixels; the classes are 0 to 19'),
    ('colours', '2 (3 channels: a picture of colours'),
    ('size', '2 (39x24 pixels, its image 40x24)'),
    ('cut', '2 (cannot be read'),
    ('no list', 'train_id.txt is missing below'),
    ('twice', '1 names are in train_id.txt twice: 2')])
def test_the_check_names_what_is_wrong(lip, what, words):
    spoil(lip, what)
    findings = check_lip(lip, workers=1, progress=False)
    assert words in str(findings) and findings.problems


def test_a_palette_png_of_indices_is_right_and_counts_are_told(lip):
    path = lip / LABELS / '1.png'
    image = Image.open(path).convert('L')
    indices = Image.fromarray(np.array(image), 'P')
    indices.putpalette([value for colour in LIP_PALETTE for value in colour])
    indices.save(path)
    findings = check_lip(lip, workers=1, progress=False)
    assert not findings.problems
    assert 'train_id.txt: 4 names (the whole of train: 30462)' in str(findings)
    assert 'val_id.txt: 2 names (the whole of val: 10000)' in str(findings)


def test_training_reads_the_indices_of_a_palette_png(lip):
    pytest.importorskip('mmseg', reason='needs mmseg: bash tools/setup.sh')
    path = lip / LABELS / '1.png'
    known = np.array(Image.open(path).convert('L'))
    image = Image.fromarray(known, 'P')
    image.putpalette([value for colour in LIP_PALETTE for value in colour])
    image.save(path)
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmseg.registry import DATASETS
    cfg = Config.fromfile(next((ROOT / 'configs/quickstart').glob('parsing_*.py')))
    init_default_scope('mmseg')
    data = cfg.train_dataloader.dataset
    data.update(data_root=str(lip), pipeline=data.pipeline[:3])
    assert known.max() and np.array_equal(DATASETS.build(data)[1]['gt_seg_map'], known)


def test_other_classes_are_those_of_the_label_maps(lip):
    from clasp_mm.datasets.lip import LIP
    from clasp_mm.datasets.transforms.check_label_map import CheckLabelMap
    names = tuple(f'class {number}' for number in range(25))
    options = dict(data_root=str(lip), ann_file='train_id.txt', data_prefix=dict(
        img_path='train_images', seg_map_path=LABELS), pipeline=[CheckLabelMap(25)])
    data = LIP(**options, metainfo=dict(classes=names))
    assert data.metainfo['classes'] == names and len(data.metainfo['palette']) == 25
    assert data[0]['label_map'] is None
    with pytest.raises(ValueError, match='has num_classes=25, the data 20 classes: name yours'):
        LIP(**options)
    part = LIP(**dict(options, pipeline=[]), metainfo=dict(classes=('Background', 'Face')))
    assert part[0]['label_map'][13] == 1 and part[0]['label_map'][5] == 255


def test_the_tool_checks_and_arranges(lip, tmp_path, monkeypatch, capsys):
    def tool(*arguments):
        monkeypatch.setattr(sys, 'argv', ['lip.py', *map(str, arguments)])
        try:
            runpy.run_path(str(ROOT / 'tools/dataset_converters/lip.py'), run_name='__main__')
        except SystemExit as end:
            return end.code
    nested = tmp_path / 'downloads/TrainVal_images'
    nested.mkdir(parents=True)
    for split in ('train', 'val'):
        (lip / f'{split}_images').rename(nested / f'{split}_images')
        (lip / f'{split}_id.txt').unlink()
    (lip / 'TrainVal_parsing_annotations').rename(tmp_path / 'downloads/annotations')
    assert not tool(tmp_path / 'downloads', '--out', tmp_path / 'root')
    assert (tmp_path / 'root/train_id.txt').read_text().split() == ['0', '1', '2', '3']
    capsys.readouterr()
    assert not tool('--check', tmp_path / 'root', '--workers', 1)
    assert 'PROBLEM' not in capsys.readouterr().out
    assert arrange_lip(tmp_path / 'downloads', tmp_path / 'root') == []
    (tmp_path / 'downloads').rename(tmp_path / 'moved')
    assert len(arrange_lip(tmp_path / 'moved', tmp_path / 'root')) == 4
    (tmp_path / 'moved').rename(tmp_path / 'downloads')
    assert len(arrange_lip(tmp_path / 'downloads', tmp_path / 'root')) == 4
    spoil(tmp_path / 'root', 'label 20')
    assert tool('--check', tmp_path / 'root', '--workers', 1)
    assert 'PROBLEM  1 label maps of train that cannot be used: 2 (label 20' in \
        capsys.readouterr().out
    assert tool() == 2 and tool('--check', tmp_path / 'nowhere') == \
        f'lip.py: no folder {tmp_path / "nowhere"}'
    (nested / 'more/train_images').mkdir(parents=True)
    with pytest.raises(ValueError, match='train_images is there twice'):
        arrange_lip(tmp_path / 'downloads', tmp_path / 'other')
    with pytest.raises(FileNotFoundError, match='no folder train_images below'):
        arrange_lip(tmp_path / 'root/train_images', tmp_path / 'other')


@pytest.mark.parametrize('what, usable', [
    ('nothing', True), ('a name with spaces', True), ('spaces and lines around names', True),
    ('a rotated photograph', True), ('a rotated photograph, its map as stored', False),
    ('an image of text', False), ('an empty image', False), ('no map', False), ('no image', False),
    ('label 20', False), ('colours', False), ('size', False), ('cut', False), ('no list', False)])
def test_check_and_training_agree(lip, what, usable):
    pytest.importorskip('mmseg', reason='needs mmseg: bash tools/setup.sh')
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmseg.registry import DATASETS
    spoil(lip, what)
    assert bool(check_lip(lip, workers=1, progress=False).problems) != usable
    cfg = Config.fromfile(next((ROOT / 'configs/quickstart').glob('parsing_*.py')))
    init_default_scope('mmseg')

    def read():
        data = DATASETS.build(dict(cfg.train_dataloader.dataset, data_root=str(lip)))
        return [data[index] for index in range(len(data))]
    if usable:
        assert len(read()) == 4
    else:
        with pytest.raises(Exception, match=r'2\.(png|jpg)|train_id'):
            read()


@pytest.mark.parametrize('what, error, words', [
    ('no map', FileNotFoundError, '2.png'), ('no image', FileNotFoundError, '2.jpg'),
    ('label 20', ValueError, '2.png: label 20 at 1 pixels'),
    ('colours', ValueError, '2.png: 3 channels'), ('size', ValueError, '2.png: 39x24 pixels'),
    ('no list', FileNotFoundError, 'train_id.txt')])
def test_training_stops_with_the_files_name(lip, what, error, words):
    pytest.importorskip('mmseg', reason='needs mmseg: bash tools/setup.sh')
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmseg.registry import DATASETS
    cfg = Config.fromfile(next((ROOT / 'configs/quickstart').glob('parsing_*.py')))
    init_default_scope('mmseg')
    spoil(lip, what)
    with pytest.raises(error, match=words):
        DATASETS.build(dict(cfg.train_dataloader.dataset, data_root=str(lip)))[2]

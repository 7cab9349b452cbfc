"""zoo/, the weights that come with the clone: found by themselves, checked, within their budget."""

import shutil

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

import clasp_mm
from clasp_mm import cli
from clasp_mm.models.weights.find import METAFILE, find_weights, verify_hash
from clasp_mm.registry import MODELS
from clasp_mm.utils.files import read_json
from clasp_mm.zoo import pages
from clasp_mm.zoo.entry import About
from clasp_mm.zoo.index import read_metafile, read_zoo
from clasp_mm.zoo.publish import publish_model
from tests.source_tree import ROOT
from tests.test_inferencers.test_inferencer import build

MOST, MOST_TOGETHER = 5e6, 32e6  # bytes
PEOPLE = np.random.default_rng(0).integers(0, 256, (2, 64, 32, 3), np.uint8)


def build_backbone(folder):
    cfg = Config.fromfile(
        ROOT / 'configs/quickstart/clasp_pcmoe-swin-nano_1xb32_synthetic-64x32.py')
    torch.manual_seed(0)
    model = MODELS.build(dict(cfg.model, _scope_='mmpretrain'))
    cfg.dump(folder / 'clasp.py')
    torch.save(dict(state_dict=model.state_dict(), meta=dict(cfg=cfg.pretty_text)),
               folder / 'clasp.pth')
    return folder / 'clasp.py', folder / 'clasp.pth'


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A zoo/ as tools/make_quickstart_zoo.sh leaves it, of random weights, and what it is of."""
    folder = tmp_path_factory.mktemp('made')
    runs = dict(clasp=build_backbone(folder), reid=build('reid', folder),
                attribute=build('attribute', folder))
    for task, (config, checkpoint) in runs.items():
        about = About('drawn people', 'Apache-2.0', f'bash tools/make_quickstart_zoo.sh {task}',
                      'drawn people')
        publish_model(checkpoint, f'{task}_nano', folder / 'zoo', config, about=about,
                      allow_dirty=True, pth=False, half=True, results={'reid': {'mAP': 6.5}})
    return folder / 'zoo', runs


@pytest.fixture
def zoo(made, tmp_path, monkeypatch):
    """A copy, in the place of the clone's."""
    folder = tmp_path / 'zoo'
    shutil.copytree(made[0], folder)
    monkeypatch.setattr('clasp_mm.models.weights.find.shipped_file',
                        lambda name: tmp_path / name)
    monkeypatch.delenv('CLASP_ZOO', raising=False)
    return folder


def faults(folder):
    """What is wrong with a zoo's folder: size, hash, passport, config, or what no entry names."""
    found, files = [], [path for path in folder.rglob('*') if path.is_file()]
    named = {entry['Weights'] for entry in read_metafile(folder / METAFILE)}
    for path in files:
        if path.stat().st_size > MOST:
            found.append(f'{path.name} has more than {MOST / 1e6} MB')
        if path.suffix in ('.pth', '.safetensors'):
            verify_hash(path)
            if path.name not in named:
                found.append(f'{path.name} is in no entry')
            if not read_json(path.with_suffix('.json'))['passport']:
                found.append(f'{path.name} has no passport')
    if sum(path.stat().st_size for path in files) > MOST_TOGETHER:
        found.append(f'{folder} has more than {MOST_TOGETHER / 1e6} MB')
    return found


def test_the_zoo_keeps_to_its_budget(made, tmp_path):
    if (ROOT / 'zoo').exists():
        assert faults(ROOT / 'zoo') == []
    assert faults(made[0]) == []
    shutil.copytree(made[0], tmp_path / 'zoo')
    (tmp_path / 'zoo' / 'large.bin').write_bytes(b'\0' * 33_000_000)
    assert len(faults(tmp_path / 'zoo')) == 2


def test_names_of_the_clone_are_models(zoo, made):
    assert clasp_mm.list_models(weights=True) == ['attribute_nano', 'clasp_nano', 'reid_nano']
    assert clasp_mm.list_models(weights=True, task='attribute') == ['attribute_nano']
    model = clasp_mm.get_model('clasp_nano', task='part')
    whole = clasp_mm.get_model(made[1]['clasp'][0], made[1]['clasp'][1], task='part')
    image = torch.randn(1, 3, 64, 32)
    torch.testing.assert_close(model(image)[-1], whole(image)[-1], atol=.02, rtol=.02)
    assert next(model.parameters()).dtype == torch.float32
    weights = find_weights('clasp_nano')
    assert weights.parent == zoo and weights.suffix == '.safetensors'
    assert weights.stat().st_size < .55 * made[1]['clasp'][1].stat().st_size / 2


def test_inference_and_demo_need_no_config(zoo, made, tmp_path, monkeypatch, capsys):
    found = clasp_mm.inference('reid', PEOPLE)
    expected = clasp_mm.inference('reid', PEOPLE, *made[1]['reid'])
    for one, other in zip(found, expected, strict=True):
        assert one['feature'] @ other['feature'] > .999
    cv2.imwrite(str(tmp_path / 'a.png'), PEOPLE[0])
    assert cli.main(['demo', 'attribute', str(tmp_path / 'a.png'), '--out',
                     str(tmp_path / 'out')]) == 0
    entry, = read_json(tmp_path / 'out' / 'predictions.json')
    assert len(entry['probabilities']) == 26
    for name in ('one', 'two'):
        config, checkpoint = made[1]['attribute']
        publish_model(checkpoint, f'{name}_attribute', tmp_path / 'mine', config,
                      about=About('drawn people', 'CC0'), allow_dirty=True, results={})
    monkeypatch.setenv('CLASP_ZOO', str(tmp_path / 'mine'))
    assert list(read_zoo())[-2:] == ['one_attribute', 'two_attribute']
    clasp_mm.inference('attribute', PEOPLE)
    with pytest.raises(FileNotFoundError, match='no model of Human Parsing has its weights'):
        clasp_mm.inference('parsing', PEOPLE)


def test_a_checkpoint_brings_the_config_beside_it(zoo, made, tmp_path):
    weights = find_weights('reid_nano')
    assert len(clasp_mm.inference('reid', PEOPLE, checkpoint=weights)) == 2
    alone = shutil.copy2(made[1]['reid'][1], tmp_path / 'alone.pth')
    with pytest.raises(FileNotFoundError, match=r'0 configs beside .*alone\.pth; name'):
        clasp_mm.inference('reid', PEOPLE, checkpoint=alone)


def test_the_users_zoo_wins(zoo, made, tmp_path, monkeypatch):
    config, checkpoint = made[1]['reid']
    path = publish_model(checkpoint, 'reid_nano', tmp_path / 'mine', config,
                         about=About('drawn people', 'CC0'), allow_dirty=True, results={})
    monkeypatch.setenv('CLASP_ZOO', str(tmp_path / 'mine'))
    assert find_weights('reid_nano') == path
    assert find_weights('clasp_nano').parent == zoo
    assert read_zoo()['reid_nano']['Metadata']['Data Licence'] == 'CC0'


def test_a_changed_byte_is_an_error(zoo):
    for name, use in (('clasp_nano', lambda: clasp_mm.get_model('clasp_nano')),
                      ('reid_nano', lambda: clasp_mm.inference('reid', PEOPLE))):
        path = find_weights(name)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        with pytest.raises(ValueError, match=rf'{path.name} has hash \w+, its name says'):
            use()


def test_a_wheel_has_the_backbone_alone(zoo):
    for path in zoo.glob('*.safetensors'):
        if not path.name.startswith('clasp_nano_'):
            path.unlink()
    assert clasp_mm.list_models(weights=True) == ['clasp_nano']
    clasp_mm.get_model('clasp_nano', task='part')
    with pytest.raises(FileNotFoundError, match=r'no published model .reid_nano'):
        clasp_mm.get_model('reid_nano')
    with pytest.raises(FileNotFoundError, match='no model of Re-identification has its weights'):
        clasp_mm.inference('reid', PEOPLE)


def test_the_page_has_file_size_hash_and_command(made, tmp_path):
    shutil.copytree(ROOT / 'configs' / 'quickstart', tmp_path / 'configs' / 'quickstart')
    (tmp_path / 'model-index.yml').write_text('Import: [configs/quickstart/metafile.yml]')
    shutil.copytree(made[0], tmp_path / 'zoo')
    text = pages.zoo_pages(tmp_path)[tmp_path / 'model_zoo.md']
    path, = made[0].glob('reid_nano_*.safetensors')
    digits = path.stem.rpartition('-')[2]
    assert (f'| reid_nano | Re-identification | [{path.name}](zoo/{path.name}) | '
            f'{path.stat().st_size / 1e6:.2f} MB | {digits} | mAP 6.5 (drawn people) | '
            '`bash tools/make_quickstart_zoo.sh reid` |') in text
    for lost in made[0].glob('clasp_nano_*.safetensors'):
        (tmp_path / 'zoo' / lost.name).unlink()
    with pytest.raises(FileNotFoundError, match='clasp_nano_'):
        pages.zoo_pages(tmp_path)

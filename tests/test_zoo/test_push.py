"""A published model on the Hugging Face hub, for which a server on the loopback stands in."""

import json

import numpy as np
import pytest
import torch
import yaml

import clasp_mm
from clasp_mm import cli
from clasp_mm.zoo.entry import About
from clasp_mm.zoo.publish import publish_model
from clasp_mm.zoo.push import model_card, push_model
from tests.hub_stand_in import TOKEN, hub_stand_in
from tests.test_inferencers.test_inferencer import build

PEOPLE = np.random.default_rng(0).integers(0, 256, (2, 64, 32, 3), np.uint8)


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp('zoo')
    config, checkpoint = build('reid', folder)
    about = About(data='me/people', data_licence='CC BY 4.0')
    return publish_model(checkpoint, 'my_reid', folder / 'zoo', config, about=about,
                         allow_dirty=True, results={'reid': {'mAP': 12.5}})


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with hub_stand_in(tmp_path, monkeypatch) as server:
        yield server


def test_what_is_pushed_is_used_by_its_name(hub, published, monkeypatch):
    monkeypatch.setenv('HF_TOKEN', TOKEN)
    assert push_model(published, 'me/reid') == f'{hub.base}/me/reid'
    files = hub.repos['me/reid']
    assert set(files) == {'model.safetensors', 'model.json', 'model.py', 'README.md'}
    weights, = published.parent.glob('*.safetensors')
    assert files['model.safetensors'] == weights.read_bytes()
    assert files['model.json'] == published.with_suffix('.json').read_bytes()
    found = clasp_mm.inference('reid', PEOPLE, checkpoint='hf-hub:me/reid')
    expected = clasp_mm.inference('reid', PEOPLE, checkpoint=published)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one['feature'], other['feature'])
    assert torch.equal(clasp_mm.get_model('hf-hub:me/reid').norm3.weight,
                       clasp_mm.get_model(published).norm3.weight)


def test_a_file_that_is_not_the_side_cars_is_refused(hub, published, monkeypatch):
    monkeypatch.setenv('HF_TOKEN', TOKEN)
    push_model(published, 'me/reid')
    data = hub.repos['me/reid']['model.safetensors']
    hub.repos['me/reid']['model.safetensors'] = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(ValueError, match=r'model.json says .*fetch it again'):
        clasp_mm.get_model('hf-hub:me/reid')


def test_the_card_is_made_of_the_passport(published):
    meta = json.loads(published.with_suffix('.json').read_text())
    _, head, text = model_card(meta, 'me/reid').split('---\n', 2)
    assert yaml.safe_load(head) == dict(
        license='other', license_name='terms-of-the-training-data', library_name='clasp_mm',
        pipeline_tag='image-feature-extraction', datasets=['me/people'],
        tags=['human-centric', 'swin', 're-identification'])
    assert "clasp_mm.inference('reid', 'photos/', checkpoint='hf-hub:me/reid')" in text
    assert '| Re-identification | mAP | 12.5 |' in text
    for name in meta['passport']:
        assert f'| {name} | ' in text
    assert '| data_licence | CC BY 4.0 |' in text and '| seed | not known |' in text
    meta['passport']['data_licence'], meta['training_data'] = 'Apache-2.0', 'drawn people'
    head = yaml.safe_load(model_card(meta, 'me/reid').split('---\n')[1])
    assert head['license'] == 'apache-2.0' and 'datasets' not in head
    meta['name'] = 'x](javascript:1)<b>'
    meta['task'] = 'Pretraining'
    assert "clasp_mm.get_model('hf-hub:me/reid', task='part')" in model_card(meta, 'me/reid')
    meta['backbone']['moe'] = None
    assert "clasp_mm.get_model('hf-hub:me/reid')" in model_card(meta, 'me/reid')
    assert '<b>' not in model_card(meta, 'me/reid') and 'x](' not in model_card(meta, 'me/reid')


def test_who_may_not_write_is_told_so(hub, published):
    with pytest.raises(ConnectionError, match=rf'{hub.base}/me/reid does not take .*'
                       r'hf auth login.*stays as it is') as error:
        push_model(published, 'me/reid')
    assert '\n' not in str(error.value) and not hub.repos
    with pytest.raises(ValueError, match="'reid' is no repository"):
        push_model(published, 'reid')


def test_publish_pushes(hub, tmp_path, monkeypatch, capsys):
    config, checkpoint = build('attribute', tmp_path)
    words = ['publish', str(checkpoint), 'mine', '--config', str(config), '--out',
             str(tmp_path / 'zoo'), '--data', 'drawn people', '--data-licence', 'CC0', '--no-pth',
             '--half', '--allow-dirty', '--push', 'me/mine']
    monkeypatch.setenv('HF_TOKEN', TOKEN)
    assert cli.main(words) == 0
    path, address = capsys.readouterr().out.split()
    assert path.endswith('.safetensors') and address == f'{hub.base}/me/mine'
    assert b'\nlicense: other\n' in hub.repos['me/mine']['README.md']
    with pytest.raises(SystemExit):
        cli.main([*words[:-5], '--no-safetensors', '--push', 'me/mine'])


def test_a_name_that_no_repository_has_is_refused_before_anything_is_written(tmp_path, capsys):
    with pytest.raises(SystemExit, match='2'):
        cli.main(['publish', str(tmp_path / 'x.pth'), 'mine', '--out', str(tmp_path / 'zoo'),
                  '--push', 'mine'])
    assert '--push mine: a repository of the hub is named as OWNER/NAME' in capsys.readouterr().err

"""SOLIDER's backbones from their published file and from a run, in what takes backbones."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

import clasp_mm
from clasp_mm.cli import main
from clasp_mm.datasets.transforms import clip_pseudo_labeler
from clasp_mm.export import write as export
from clasp_mm.export.write import export_model
from clasp_mm.registry import MODELS

SIZE = (32, 16)
BACKBONE = dict(type='clasp_mm.SemanticSwin', strides=(4, 2), out_indices=(0, 1), window_size=4,
                arch=dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2)))
MODEL = dict(
    type='clasp_mm.SOLIDER', backbone=dict(BACKBONE, out_indices=(1, )),
    head=dict(type='clasp_mm.DINOHead', in_channels=16, out_dim=12, hidden_dim=16,
              bottleneck_dim=8),
    part_head=dict(type='clasp_mm.PartSegHead', in_channels=16, num_classes=4),
    data_preprocessor=dict(type='clasp_mm.ViewPreprocessor'))


def backbone():
    model = MODELS.build(BACKBONE)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=.3)
    return model.eval()


@pytest.fixture
def published(tmp_path):
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in backbone().state_dict().items()},
                    meta=dict(backbone=BACKBONE)), tmp_path / 'solider.pth')
    return tmp_path / 'solider.pth'


@pytest.fixture
def people(tmp_path):
    folder = tmp_path / 'people'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        cv2.imwrite(str(folder / f'{i}.png'), rng.integers(0, 255, (40, 20, 3), np.uint8))
    return folder


def pooled(source, people, weight, **kwargs):
    """What the backbone itself makes of the images."""
    model = clasp_mm.get_model(source, semantic_weight=weight, **kwargs)
    with torch.no_grad():
        return model(clasp_mm.load_images(sorted(people.iterdir()), SIZE))[-1].mean((2, 3)).numpy()


def embed(people, checkpoint, out, *more):
    return main(['embed', str(people), '--checkpoint', str(checkpoint), '--out', str(out),
                 '--workers', '0', '--size', *map(str, SIZE), *more])


def test_embedded_with_the_weight_that_is_given(published, people, tmp_path, capsys):
    folder, out = tmp_path / 'f', tmp_path / 'f/features.npy'
    assert embed(people, published, folder, '--semantic-weight', '0.2') == 0
    np.testing.assert_allclose(np.load(out), pooled(published, people, .2), atol=1e-5)
    assert json.loads(out.with_suffix('.json').read_text())['semantic_weight'] == .2
    assert np.abs(np.load(out) - pooled(published, people, 1.)).max() > 1e-2
    for more, words in (((), 'solider.pth has a semantic controller: choose --semantic-weight 0'),
                        (('--semantic-weight', '2'), 'semantic_weight=2.0 must lie in [0, 1]'),
                        (('--task', 'part'), 'SemanticSwin has no task')):
        capsys.readouterr()
        assert embed(people, published, folder, *more) == 1
        assert words in capsys.readouterr().err


def test_another_backbone_takes_none(people, tmp_path, capsys):
    plain = dict(BACKBONE, type='clasp_mm.PCMoESwin', moe=None)
    torch.save(dict(state_dict=MODELS.build(plain).state_dict(), meta=dict(backbone=plain)),
               tmp_path / 'plain.pth')
    assert embed(people, tmp_path / 'plain.pth', tmp_path / 'f', '--semantic-weight', '1') == 1
    assert 'clasp_mm.PCMoESwin, does not take semantic_weight' in capsys.readouterr().err


def test_a_run_of_solider_is_embedded_without_its_nameless_parts(people, tmp_path):
    model = MODELS.build(dict(MODEL, _scope_='mmpretrain'))
    (tmp_path / 'run').mkdir()
    config, checkpoint = tmp_path / 'run' / 'config.py', tmp_path / 'run' / 'epoch_1.pth'
    Config(dict(model=MODEL)).dump(config)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(cfg=config.read_text())), checkpoint)
    assert embed(people, checkpoint, tmp_path / 'f', '--semantic-weight', '0.5') == 0
    np.testing.assert_allclose(np.load(tmp_path / 'f/features.npy'),
                               pooled(config, people, .5, pretrained=checkpoint), atol=1e-5)


def test_search_keeps_an_index_for_each_weight(published, people, tmp_path, capsys):
    index = tmp_path / 'index'

    def search(*more):
        assert main(['search', str(people), str(people / '1.png'), '--checkpoint', str(published),
                     '--index', str(index), '--html', str(tmp_path / 's.html'), '--workers', '0',
                     '--size', *map(str, SIZE), '--json', *more]) == 0
        found = json.loads(capsys.readouterr().out)
        return {hit['name']: hit['score'] for hit in found['hits']}

    for weight in (.2, 1.):
        features = pooled(published, people, weight)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        assert search('--semantic-weight', str(weight)) == {
            f'{i}.png': pytest.approx(float(features[i] @ features[1]), abs=1e-5) for i in (0, 2)}
    assert len(list(index.iterdir())) == 2
    assert main(['search', str(people), str(people / '1.png'), '--checkpoint', str(published),
                 '--index', str(index)]) == 1
    assert '--semantic-weight 0' in capsys.readouterr().err


def test_exported_with_the_weight_built_in(published, people, tmp_path, monkeypatch):
    networks = []
    monkeypatch.setitem(export._write, 'torch', lambda network, *_: networks.append(network) or b'')
    monkeypatch.setattr(export, 'ExportedModel', lambda _: None)
    monkeypatch.setattr(export, '_compare', lambda *_: 0.)
    out = tmp_path / 's.pt2'
    report = export_model(published, out, size=SIZE, format='torch', semantic_weight=.2)
    images = clasp_mm.load_images(sorted(people.iterdir()), SIZE)
    found = networks[0](images)[-1].mean((2, 3)).numpy()
    np.testing.assert_allclose(found, pooled(published, people, .2), atol=1e-5)
    assert report.meta['task'] == .2
    with pytest.raises(ValueError, match=r'semantic_weight=None.*one that is given'):
        export_model(published, out, size=SIZE, format='torch')
    Config(dict(model=MODEL)).dump(tmp_path / 'config.py')  # a run's, of SOLIDER
    with pytest.raises(ValueError, match='one that is given'):
        export_model(tmp_path / 'config.py', out, published, size=SIZE, format='torch')


def test_labels_of_a_teacher_know_its_weight_and_normalisation(published, monkeypatch):
    monkeypatch.setattr(clip_pseudo_labeler, 'build_clip', lambda **_: None)
    monkeypatch.setattr(clip_pseudo_labeler, 'CLIPLabeler', lambda *args: args[2])
    identities = {clip_pseudo_labeler.build_labeler({}, clasp_mm.get_model(
        published, semantic_weight=weight)) for weight in (0., .5, 1.)}
    assert len(identities) == 3
    other = clasp_mm.get_model(published, semantic_weight=.5)
    other.mean = (127.5, 127.5, 127.5)
    assert clip_pseudo_labeler.build_labeler({}, other) not in identities

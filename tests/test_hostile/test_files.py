"""Files that strangers made, each of which would leave a mark if anything in it ran."""

import json
import os
import pickle
from argparse import Namespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import clasp_mm
from clasp_mm.compat import load_file
from clasp_mm.datasets import LUPerson
from clasp_mm.datasets.attribute_files import read_attribute_file
from clasp_mm.export.write import export_model
from clasp_mm.inferencers.boxes import KnownBoxes
from clasp_mm.inferencers.gallery import ReIDIndex
from clasp_mm.mini_clip import ARCHITECTURE
from clasp_mm.models import PCMoESwin, SemanticSwin
from clasp_mm.models.weights.find import find_weights
from clasp_mm.models.weights.trained_with import config_line, stated_backbone
from clasp_mm.pseudo_labels.clip_model import build_clip
from clasp_mm.pseudo_labels.store import LabelStore
from clasp_mm.pseudo_labels.store_files import open_array
from clasp_mm.search.index import Encoder, FeatureIndex
from clasp_mm.search.query import read_attributes
from clasp_mm.utils.files import file_hash, read_json, read_yaml, write_yaml
from clasp_mm.zoo.compare import compare
from clasp_mm.zoo.entry import write_entry
from clasp_mm.zoo.index import list_models, read_metafile, read_zoo
from clasp_mm.zoo.pages import folder_page
from tests.source_tree import ROOT


class Evil:

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark), )


def tagged(mark):
    """YAML that any loader but the safe one runs."""
    return f'Models: !!python/object/apply:os.mkdir [{mark}]\n'


# YAML


@pytest.mark.parametrize('use', [
    list_models, read_zoo, lambda: clasp_mm.get_model('own'),
    lambda: clasp_mm.inference('reid', 'x.png', 'own'), lambda: compare(['own', 'other']),
    lambda: find_weights('own'), clasp_mm.register_with_mmpretrain,
    lambda: export_model('own', 'x.pt2', size=(64, 32), format='torch')])
def test_a_metafile_of_the_zoo(use, mark, tmp_path, monkeypatch):
    (tmp_path / 'metafile.yml').write_text(tagged(mark))
    monkeypatch.setenv('CLASP_ZOO', str(tmp_path))
    with pytest.raises(ValueError, match=r'metafile\.yml is no YAML file of plain data'):
        use()


def test_a_metafile_that_is_read_or_written_to(mark, tmp_path, entry):
    path = tmp_path / 'metafile.yml'
    path.write_text(tagged(mark))
    for use in (lambda: folder_page(tmp_path), lambda: read_metafile(path, ROOT),
                lambda: compare([str(path)]), lambda: write_entry(tmp_path, entry)):
        with pytest.raises(ValueError, match='is no YAML file of plain data'):
            use()
    assert path.read_text() == tagged(mark), 'left as it was'


@pytest.mark.parametrize('suffix', ['.yaml', '.yml', '.json'])
def test_attributes_to_search_for(suffix, mark, tmp_path):
    path = tmp_path / f'own{suffix}'
    path.write_text(tagged(mark))
    with pytest.raises(ValueError, match=f'own{suffix} is no (YAML|JSON) file'):
        read_attributes(path)


def test_aliases_that_grow_or_loop_are_refused_and_shared_ones_are_read(tmp_path):
    path = tmp_path / 'own.yaml'
    lines = ['a0: &a0 [x, x]'] + [f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 10)}]'
                                  for i in range(1, 9)]
    for text in ('\n'.join(lines), 'a: &a [*a]', 'a: &a\n  b: *a', '[' * 5000):
        path.write_text(text)
        with pytest.raises(ValueError, match=r'own\.yaml is no YAML file'):
            read_yaml(path)
    path.write_text('a: &a [1, 2]\nb: *a\n')
    assert read_yaml(path) == {'a': [1, 2], 'b': [1, 2]}


def test_what_is_written_can_be_read(tmp_path):
    content = {'Models': [{'Name': 'Zoë', 'size': (64, 32), 'share': .5, 'none': None}]}
    write_yaml(tmp_path / 'a.yml', content)
    assert read_yaml(tmp_path / 'a.yml') == {
        'Models': [{'Name': 'Zoë', 'size': [64, 32], 'share': .5, 'none': None}]}
    with pytest.raises(yaml.YAMLError):
        write_yaml(tmp_path / 'a.yml', {'a': object()})


# The backbone that a published file states


def published(folder, backbone, state=None, **meta):
    path = folder / 'made.pth'
    torch.save(dict(state_dict=state or {}, meta=dict(backbone=backbone, **meta)), path)
    return path.rename(folder / f'made_20260101-{file_hash(path)}.pth')


@pytest.mark.parametrize('make', [
    lambda mark: dict(type='os.mkdir', path=mark),
    lambda mark: dict(type='clasp_mm.CLASP', backbone=dict(type='os.mkdir', path=mark)),
    lambda mark: dict(type='mmpretrain.SwinTransformer', init_cfg=dict(type='os.mkdir')),
    lambda mark: dict(type='clasp_mm.PCMoESwin', drop_rate=dict(type='os.mkdir', path=mark)),
    lambda mark: dict(type='clasp_mm.PCMoESwin', moe=dict(top_k=dict(type='os.mkdir'))),
    lambda mark: dict(type='clasp_mm.PCMoESwin', moe=dict(type='os.mkdir', path=mark)),
    lambda mark: dict(type='clasp_mm.PCMoESwin', moe=[mark]),
    lambda mark: dict(type='clasp_mm.PCMoESwin', arch=[mark]),
    lambda mark: dict(type='clasp_mm.PCMoESwin', _scope_='os'),
    lambda mark: dict(type='clasp_mm.PCMoESwin', pretrained=mark),
    lambda mark: dict(type='clasp_mm.PCMoESwin', semantic_weight=.5),
    lambda mark: dict(type='clasp_mm.SemanticSwin', moe=None),
    lambda mark: dict(type='clasp_mm.SemanticSwin', kwargs=mark),
    lambda mark: 'os.mkdir', lambda mark: ['os.mkdir']])
def test_a_backbone_that_is_none_of_ours(make, mark, tmp_path):
    path = published(tmp_path, make(str(mark)))
    for use in (lambda: clasp_mm.get_model(path),
                lambda: export_model(path, tmp_path / 'x.pt2', size=(64, 32), format='torch')):
        with pytest.raises(ValueError, match=r'made_\S+ states'):
            use()
    from clasp_mm.search.embed import load_backbone
    with pytest.raises(ValueError, match='states'):
        load_backbone(Namespace(checkpoint=path, config=None, semantic_weight=None, task=None))


def test_arguments_of_a_backbone_that_do_not_fit_are_a_clear_error(tmp_path):
    with pytest.raises(ValueError, match=r'PCMoESwin, cannot be built'):
        clasp_mm.get_model(published(tmp_path, dict(type='clasp_mm.PCMoESwin', strides=5)))


@pytest.mark.parametrize('backbone', [
    dict(type='clasp_mm.PCMoESwin', arch=dict(embed_dims=8, depths=[1, 1], num_heads=[1, 2]),
         strides=[4, 2], out_indices=[1], task='part', moe=dict(num_experts=3, top_k=2, stages=[1]),
         init_cfg=dict(type='clasp_mm.Pretrained', checkpoint='gone.pth')),
    dict(type='clasp_mm.SemanticSwin', arch=dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2)),
         strides=(4, 2), out_indices=(1, ), semantic_weight=.5)])
def test_our_backbones_are_built_from_a_file(backbone, tmp_path):
    kind = {'clasp_mm.PCMoESwin': PCMoESwin, 'clasp_mm.SemanticSwin': SemanticSwin}[
        backbone['type']]
    state = kind(**{name: value for name, value in backbone.items() if name != 'type'}
                 ).state_dict()
    path = published(tmp_path, backbone, {f'backbone.{name}': value
                                          for name, value in state.items()})
    model = clasp_mm.get_model(path)
    assert type(model) is kind and model.state_dict().keys() == state.keys()


def test_the_line_to_paste_holds_no_code(mark):
    moe = {f'top_k=__import__("os").mkdir({str(mark)!r}) or 2, num_experts': 3}
    for meta in (dict(backbone=dict(type='clasp_mm.PCMoESwin', arch='nano', moe=moe)),
                 dict(cfg='model = dict(backbone=dict(type="clasp_mm.PCMoESwin", arch="nano", '
                          f'moe={moe!r}))')):
        assert config_line(stated_backbone(dict(meta=meta))) == (
            "backbone=dict(type='clasp_mm.PCMoESwin', arch='nano')")


# Pickles and arrays


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('where', ['state_dict', 'meta', 'backbone'])
def test_weights(where, legacy, mark, tmp_path):
    content = dict(state_dict={}, meta=dict(backbone=dict(type='clasp_mm.PCMoESwin')))
    (content['meta'] if where == 'backbone' else content)[where] = Evil(mark)
    path = tmp_path / 'evil.pth'
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    for use in (lambda: load_file(path), lambda: clasp_mm.get_model(path),
                lambda: compare([str(path), str(path)]),
                lambda: export_model(path, tmp_path / 'x.pt2', size=(64, 32), format='torch')):
        with pytest.raises(ValueError, match='holds more than weights'):
            use()


@pytest.mark.parametrize('use', [
    lambda path: read_attribute_file(path.rename(path.with_suffix('.pkl'))),
    lambda path: read_attribute_file(path.rename(path.with_suffix('.mat'))),
    lambda path: ReIDIndex.load(path), lambda path: read_json(path), load_file,
    lambda path: KnownBoxes(path, ['a.png'], .3)])
def test_a_pickle_under_any_name(use, mark, tmp_path):
    path = tmp_path / 'evil.npz'
    path.write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(ValueError, match='evil'):
        use(path)


def test_arrays_of_objects(mark, tmp_path):
    evil = np.array([Evil(mark)], dtype=object)
    np.savez(tmp_path / 'index.npz', features=evil, names=evil, root=evil, version=evil)
    with pytest.raises(ValueError, match=r'index\.npz'):
        ReIDIndex.load(tmp_path / 'index.npz')


def test_a_label_store_and_a_search_index_of_objects(mark, tmp_path):
    evil = np.array([Evil(mark)], dtype=object)
    np.save(tmp_path / 'status.npy', evil)
    with pytest.raises(ValueError, match=r'status\.npy.* damaged'):
        open_array(tmp_path / 'status.npy', 'r', np.dtype(np.uint8), (1, ))
    (tmp_path / 'header.json').write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(ValueError, match='header'):
        LabelStore(tmp_path)
    Image.new('RGB', (8, 16)).save(tmp_path / 'a.png')
    index = FeatureIndex(tmp_path / 'index', LUPerson(tmp_path), Encoder('e', (16, 8), None))
    index.folder.mkdir(parents=True)
    np.save(index.folder / 'segment.npy', evil)
    with pytest.raises(ValueError, match=r'segment\.npy is damaged'):
        index.scores(np.ones((1, 3), np.float32))


def test_clip(mark, tmp_path):
    evil = tmp_path / 'evil.json'
    evil.write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(ValueError, match=r'evil\.json'):
        build_clip(str(evil), 'x.pt')
    architecture = tmp_path / 'hostile_clip.json'
    architecture.write_text(json.dumps(ARCHITECTURE))
    torch.save(dict(state_dict=Evil(mark)), tmp_path / 'evil.pt')
    with pytest.raises(ValueError, match='cannot load CLIP'):
        build_clip(str(architecture), str(tmp_path / 'evil.pt'))


def test_annotations_of_pose_are_json(mark, tmp_path):
    pytest.importorskip('mmpose')
    from clasp_mm.datasets.coco_keypoints import CocoKeypoints
    path = tmp_path / 'people.pkl'
    path.write_bytes(pickle.dumps(Evil(mark)))
    (tmp_path / 'people.json').write_text('{"images": [], "annotations": [], "categories": []}')
    for given in (dict(ann_file=str(path)),
                  dict(ann_file=str(tmp_path / 'people.json'), bbox_file=str(path))):
        with pytest.raises(ValueError, match=r'people\.pkl is no \.json'):
            CocoKeypoints(**given, test_mode=True)

"""Models by their names, here and through mmpretrain."""

import copy

import mmengine
import pytest
import torch
from mmengine.config import Config

import clasp_mm
from clasp_mm.registry import MODELS
from clasp_mm.utils.files import file_hash
from clasp_mm.zoo import get_model as model_zoo
from clasp_mm.zoo.index import read_index
from tests.source_tree import ROOT

NANO = 'clasp_pcmoe-swin-nano_1xb32_synthetic-64x32'
REID = 'reid_transreid_pcmoe-swin-nano_1xb32_synthetic-64x32'
ATTRIBUTE = 'attribute_pcmoe-swin-nano_1xb32_synthetic-64x32'
IMAGES = torch.linspace(-2, 2, 2 * 3 * 64 * 32).view(2, 3, 64, 32)


def save(folder, name, state, **meta):
    """As a published file; returns its path."""
    folder.mkdir(exist_ok=True)
    torch.save(dict(state_dict=state, meta=meta), folder / 'made.pth')
    path = folder / f'{name}_20260101-{file_hash(folder / "made.pth")}.pth'
    return (folder / 'made.pth').rename(path)


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A folder with weights of the nano and of a re-identification model; and the backbones."""
    models, entries = {}, []
    for name in (NANO, REID):
        entry = copy.deepcopy(read_index(ROOT)[name])
        cfg = Config.fromfile(ROOT / entry['Config'])
        model = models[name] = MODELS.build(dict(cfg.model.backbone, init_cfg=None)).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=.2)
        state = {f'backbone.{key}': value for key, value in model.state_dict().items()}
        path = save(tmp_path / 'zoo', name, state, backbone=cfg.model.backbone.to_dict(),
                    task=entry['Metadata']['Task'])
        entries.append({**entry, 'Weights': path.name})
    mmengine.dump({'Models': entries}, tmp_path / 'zoo' / 'metafile.yml')
    monkeypatch.setenv('CLASP_ZOO', str(tmp_path / 'zoo'))
    return tmp_path / 'zoo', models


def assert_same(maps, others):
    for one, other in zip(maps, others, strict=True):
        assert torch.equal(one, other)


@torch.no_grad()
def test_a_name_gives_the_published_backbone(zoo):
    _, models = zoo
    assert_same(clasp_mm.get_model(NANO, task='part')(IMAGES), models[NANO](IMAGES, 'part'))
    assert_same(clasp_mm.get_model(REID)(IMAGES), models[REID](IMAGES))
    (last,) = clasp_mm.get_model(NANO, task='part', out_indices=(3,))(IMAGES)
    assert torch.equal(last, models[NANO](IMAGES, 'part')[-1])
    random = clasp_mm.get_model(NANO, pretrained=False, task='part')(IMAGES)
    assert not torch.equal(random[-1], models[NANO](IMAGES, 'part')[-1])


@torch.no_grad()
def test_weights_of_the_pretraining_go_into_any_task(zoo):
    folder, models = zoo
    (path,) = folder.glob(f'{NANO}_*.pth')
    for weights in (path, NANO, path.name):
        model = clasp_mm.get_model(ATTRIBUTE, pretrained=weights, task='part', out_indices=(3,))
        assert torch.equal(model(IMAGES)[0], models[NANO](IMAGES, 'part')[-1])


def test_settings_that_differ_from_the_training_s_are_told(zoo, monkeypatch):
    said = []
    monkeypatch.setattr(model_zoo, 'print_log', lambda text, *_: said.append(text))
    clasp_mm.get_model(NANO, task='part', out_indices=(3,))
    assert not said
    clasp_mm.get_model(NANO, task='part', pad_small_map=False)
    assert len(said) == 1 and 'BUT HERE: pad_small_map=False' in said[0]


def test_weights_of_another_task_are_refused(zoo, tmp_path):
    folder, models = zoo
    for name in (ATTRIBUTE, NANO):
        with pytest.raises(ValueError, match='of another task, Re-identification'):
            clasp_mm.get_model(name, pretrained=next(folder.glob(f'{REID}_*.pth')))
    state = {f'backbone.{key}': value for key, value in models[REID].state_dict().items()}
    run = save(tmp_path, 'run', state, cfg=Config.fromfile(
        ROOT / read_index(ROOT)[REID]['Config']).pretty_text)
    with pytest.raises(ValueError, match='of another task, Re-identification'):
        clasp_mm.get_model(ATTRIBUTE, pretrained=run)
    clasp_mm.get_model(REID, pretrained=run)


@torch.no_grad()
def test_a_checkpoint_of_a_run_says_its_own_backbone(zoo, tmp_path):
    _, models = zoo
    state = {f'backbone.{key}': value for key, value in models[REID].state_dict().items()}
    text = Config.fromfile(ROOT / read_index(ROOT)[REID]['Config']).pretty_text
    found = clasp_mm.get_model(save(tmp_path, 'epoch_1', state, cfg=text), task='part')
    assert_same(found(IMAGES), models[REID](IMAGES, 'part'))
    for cfg in (text.replace('clasp_mm.PCMoESwin', 'os.mkdir'), f'{text}\nopen("x")', 5):
        with pytest.raises(ValueError, match=r'epoch_1\S+ (states|is no published)'):
            clasp_mm.get_model(save(tmp_path, 'epoch_1', state, cfg=cfg))


def test_unknown_names_offer_the_nearest(zoo, monkeypatch):
    with pytest.raises(FileNotFoundError, match=f'near: .*{NANO}'):
        clasp_mm.get_model(NANO.replace('nano', 'nona'))
    monkeypatch.delenv('CLASP_ZOO')
    with pytest.raises(FileNotFoundError, match=f'model of the zoo by that name; near: .*{NANO}'):
        clasp_mm.get_model(NANO.replace('nano', 'nona'))


def test_weights_that_are_not_there(zoo):
    with pytest.raises(FileNotFoundError, match=f'no weights of {ATTRIBUTE} .*pretrained=False'):
        clasp_mm.get_model(ATTRIBUTE)
    folder, _ = zoo
    (path,) = folder.glob(f'{NANO}_*.pth')
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match='only partly copied'):
        clasp_mm.get_model(NANO)
    path.unlink()
    with pytest.raises(FileNotFoundError, match='no published model'):
        clasp_mm.get_model(NANO)


def test_what_does_not_go_together(zoo):
    path = next(zoo[0].glob(f'{NANO}_*.pth'))
    with pytest.raises(ValueError, match='goes with a config'):
        clasp_mm.get_model(path, pretrained=path)
    with pytest.raises(ValueError, match='no weights of its own'):
        clasp_mm.get_model(ROOT / read_index(ROOT)[NANO]['Config'], pretrained=True)


@torch.no_grad()
def test_mmpretrain_has_them_too(zoo):
    import mmpretrain
    _, models = zoo
    names = clasp_mm.register_with_mmpretrain()
    assert clasp_mm.register_with_mmpretrain() == names
    assert set(names) <= set(mmpretrain.list_models()) and not any('pose' in n for n in names)
    model = mmpretrain.get_model(NANO, pretrained=True, backbone=dict(task='part'))
    assert_same(model.extract_feat(IMAGES), models[NANO](IMAGES, 'part'))
    whole = mmpretrain.get_model(REID, pretrained=True)
    assert_same(whole.backbone(IMAGES), models[REID](IMAGES))
    assert type(whole.head).__name__ == 'ReIDHead'

import json
import shutil

import pytest
import torch
from mmengine.config import Config

import clasp_mm
from clasp_mm.registry import MODELS
from clasp_mm.utils.files import file_hash
from clasp_mm.zoo.publish import publish_model, publish_run
from tests.test_pseudo_labels.test_store import make_store

BACKBONE = dict(type='clasp_mm.PCMoESwin', arch=dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2)),
                strides=(4, 2), out_indices=(0, 1), window_size=4,
                moe=dict(num_experts=3, top_k=2, expert_hidden=4))
CONFIG = dict(
    model=dict(type='clasp_mm.CLASP', backbone=BACKBONE,
               head=dict(type='clasp_mm.DINOHead', in_channels=16, out_dim=12, hidden_dim=16,
                         bottleneck_dim=8),
               part_head=None, attr_head=None,
               data_preprocessor=dict(type='clasp_mm.ViewPreprocessor')),
    train_dataloader=dict(dataset=dict(type='clasp_mm.LUPerson', data_root='somewhere')))


def make_run(folder):
    """Leave a finished run in ``folder/run``; its model."""
    torch.manual_seed(0)
    model = MODELS.build(dict(CONFIG['model'], _scope_='mmpretrain'))
    with torch.no_grad():
        for parameter in model.teacher.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    (folder / 'run').mkdir()
    Config(CONFIG).dump(folder / 'run' / 'config.py')
    torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=3, iter=12)),
               folder / 'run' / 'epoch_3.pth')
    return model


@pytest.fixture
def run(tmp_path):
    """A finished run's folder, and its model."""
    return tmp_path / 'run', make_run(tmp_path)


def test_published_model_gives_the_teachers_features(run, tmp_path):
    folder, model = run
    path = publish_model(folder / 'epoch_3.pth', 'mini', tmp_path / 'zoo')
    assert path.name.startswith('mini_') and path.stem.endswith(file_hash(path))
    torch.load(path, weights_only=True)
    images = torch.randn(2, 3, 32, 16)
    for task in ('appearance', 'part', ('appearance', 'attribute')):
        published = clasp_mm.get_model(path, task=task)
        for mine, theirs in zip(published(images), model.teacher.backbone(images, task),
                                strict=True):
            torch.testing.assert_close(mine, theirs)
    side_car = json.loads(path.with_suffix('.json').read_text())
    assert side_car['epoch'] == 3 and side_car['data']['data_root'] == 'somewhere'
    assert side_car['coverage']['missing'] == [] and side_car['sha256_8'] == file_hash(path)
    assert sorted(p.suffix for p in (tmp_path / 'zoo').iterdir()) == [
        '.json', '.pth', '.py', '.safetensors']


def test_a_run_publishes_its_last_checkpoint_and_links_it(run):
    folder, _ = run
    with pytest.raises(FileNotFoundError, match='no checkpoint'):
        publish_run(folder / 'none', folder / 'config.py')
    (folder / 'last_checkpoint').write_text('/where/the/run/was/epoch_3.pth')
    (folder / 'metrics.jsonl').write_text('{"loss": 1.0, "step": 1}\n')
    path = publish_run(folder, folder / 'config.py')
    assert path.parent == folder / 'published' and path.name.startswith('config_')
    clasp_mm.get_model(path, task='part')
    assert f'href="published/{path.name}"' in (folder / 'report.html').read_text()
    assert publish_run(folder, folder / 'config.py') == path


def test_a_run_whose_config_has_another_name_is_published(run):
    (run[0] / 'last_checkpoint').write_text('epoch_3.pth')
    (run[0] / 'config.py').rename(run[0] / 'my config.py')
    assert publish_run(run[0], run[0] / 'my config.py').name.startswith('my_config_')


@pytest.mark.parametrize('name', ['', 'my model', 'a:b', 'a/b', '..', '-dash', 'a\n'])
def test_a_name_that_no_file_should_have_is_refused_first(run, tmp_path, name):
    with pytest.raises(ValueError, match='becomes that of files: letters, digits'):
        publish_model(run[0] / 'epoch_3.pth', name, tmp_path / 'zoo')
    assert not (tmp_path / 'zoo').exists()


def test_results_of_nothing_are_refused_first(run, tmp_path):
    (tmp_path / 'empty').mkdir()
    for scored_on in ('nonsense', tmp_path / 'empty'):
        with pytest.raises(FileNotFoundError, match=f'at {scored_on}: name the data'):
            publish_model(run[0] / 'epoch_3.pth', 'mini', tmp_path / 'zoo', scored_on=scored_on)
    assert not (tmp_path / 'zoo').exists()


def test_a_model_without_a_task_asks_for_one(run, tmp_path):
    model = clasp_mm.get_model(publish_model(run[0] / 'epoch_3.pth', 'mini', tmp_path / 'zoo'))
    with pytest.raises(ValueError, match='appearance, part, attribute'):
        model(torch.zeros(1, 3, 32, 16))


def test_a_changed_file_is_refused(run, tmp_path):
    path = publish_model(run[0] / 'epoch_3.pth', 'mini', tmp_path / 'zoo')
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match='fetch it again'):
        clasp_mm.get_model(path, task='part')


def test_names_are_looked_up_in_the_zoo(run, tmp_path, monkeypatch):
    path = publish_model(run[0] / 'epoch_3.pth', 'mini', tmp_path / 'zoo')
    monkeypatch.setenv('CLASP_ZOO', str(tmp_path / 'zoo'))
    for name in ('mini', path.stem):
        assert clasp_mm.get_model(name, task='part').training is False
    with pytest.raises(FileNotFoundError, match='near: mini'):
        clasp_mm.get_model('minni', task='part')
    monkeypatch.delenv('CLASP_ZOO')
    with pytest.raises(FileNotFoundError, match='CLASP_ZOO'):
        clasp_mm.get_model('mini', task='part')


def test_nan_and_foreign_files_are_not_published(run, tmp_path):
    folder, model = run
    state = model.state_dict()
    state['teacher.backbone.norm1.weight'][0] = float('nan')
    torch.save(dict(state_dict=state), folder / 'epoch_3.pth')
    with pytest.raises(ValueError, match='norm1'):
        publish_model(folder / 'epoch_3.pth', 'mini', tmp_path / 'zoo')
    with pytest.raises(ValueError):
        torch.save(dict(state_dict=dict(weight=torch.zeros(2))), folder / 'other.pth')
        publish_model(folder / 'other.pth', 'mini', tmp_path / 'zoo', folder / 'config.py')
    assert not list((tmp_path / 'zoo').glob('*'))


def test_get_model_from_a_config(run):
    torch.manual_seed(1)
    model = clasp_mm.get_model(run[0] / 'config.py', run[0] / 'epoch_3.pth', task='part')
    images = torch.randn(1, 3, 32, 16)
    torch.testing.assert_close(model(images)[-1],
                               run[1].teacher.backbone(images, 'part')[-1])


def test_a_run_with_a_damaged_label_store_is_not_published(run, tmp_path):
    folder, _ = run
    _, store = make_store(tmp_path / 'labels')
    step = dict(type='clasp_mm.CLIPPseudoLabeler', store=str(store.path))
    data = dict(CONFIG['train_dataloader']['dataset'], pipeline=[step])
    Config(dict(CONFIG, train_dataloader=dict(dataset=data))).dump(folder / 'config.py')
    publish_model(folder / 'epoch_3.pth', 'mini', tmp_path / 'zoo')
    path = store.path / 'attr_conf.npy'
    path.write_bytes(path.read_bytes()[:-1] + b'\x01')
    with pytest.raises(ValueError, match=r'attr_conf\.npy of the label store .*--allow-dirty'):
        publish_model(folder / 'epoch_3.pth', 'mini', tmp_path / 'zoo')
    publish_model(folder / 'epoch_3.pth', 'mini', tmp_path / 'zoo', allow_dirty=True)
    shutil.rmtree(store.path)  # on another machine
    publish_model(folder / 'epoch_3.pth', 'mini', tmp_path / 'zoo')


def test_half_the_bytes_in_one_file(run, tmp_path):
    folder, model = run
    other = publish_model(folder / 'epoch_3.pth', 'mini', tmp_path / 'zoo', pth=False, half=True)
    assert other.suffix == '.safetensors' and other.stem.endswith(file_hash(other))
    side_car = json.loads(other.with_suffix('.json').read_text())
    assert side_car['files'] == [other.name] and side_car['sha256_8'] == file_hash(other)
    assert {path.suffix for path in other.parent.iterdir()} == {'.safetensors', '.json', '.py'}
    images = torch.randn(2, 3, 32, 16)
    published = clasp_mm.get_model(other, task='part')
    assert {value.dtype for value in published.state_dict().values()
            if value.is_floating_point()} == {torch.float32}
    torch.testing.assert_close(published(images)[-1], model.teacher.backbone(images, 'part')[-1],
                               atol=.02, rtol=.02)
    with pytest.raises(ValueError, match=r'neither \.pth nor \.safetensors'):
        publish_model(folder / 'epoch_3.pth', 'mini', tmp_path / 'zoo', pth=False,
                      safetensors=False)
    state = model.state_dict()
    state['teacher.backbone.norm1.weight'][0] = 1e6
    torch.save(dict(state_dict=state), folder / 'epoch_3.pth')
    with pytest.raises(ValueError, match=r'float16 does not have in backbone\.norm1\.weight'):
        publish_model(folder / 'epoch_3.pth', 'mini', tmp_path / 'half', half=True)

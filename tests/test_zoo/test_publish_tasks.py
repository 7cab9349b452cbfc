"""Whole models of a task: published, refused, found by their names, and equal to their runs."""

import json
import re
import runpy
import sys
from pathlib import Path

import mmengine
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import _load_checkpoint

import clasp_mm
from clasp_mm.compat import load_file
from clasp_mm.models.weights.mmengine_reader import guard_checkpoints
from clasp_mm.utils.files import file_hash
from clasp_mm.zoo.entry import About, parse_results
from clasp_mm.zoo.index import read_zoo
from clasp_mm.zoo.publish import publish_model
from tests.source_tree import ROOT
from tests.test_inferencers.test_inferencer import build

REID = 'reid_transreid_pcmoe-swin-nano_1xb32_synthetic-64x32'
MINE = About(data='drawn people', data_licence='CC0', dataset='drawn people, val')
PEOPLE = np.random.default_rng(0).integers(0, 256, (2, 64, 32, 3), np.uint8)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Config and checkpoint of two tasks, as a run leaves them but for its logs."""
    folder, made = tmp_path_factory.mktemp('trained'), {}
    for task in ('reid', 'attribute'):
        (folder / task).mkdir()
        made[task] = build(task, folder / task)
        content = torch.load(made[task][1], weights_only=True)
        content['meta'].update(epoch=10, iter=250, seed=3,
                               cfg=Config.fromfile(made[task][0]).pretty_text)
        torch.save(content, made[task][1])
    return made


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """A run's folder of re-identification to change: config, ``epoch_10.pth``; no data lie near."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / 'run'
    folder.mkdir()
    (folder / 'reid.py').write_text(trained['reid'][0].read_text())
    (folder / 'epoch_10.pth').write_bytes(trained['reid'][1].read_bytes())
    return folder


def change(run, edit):
    """Edit the checkpoint's content."""
    content = torch.load(run / 'epoch_10.pth', weights_only=True)
    edit(content)
    torch.save(content, run / 'epoch_10.pth')


def publish(run, name='mine', **options):
    return publish_model(run / 'epoch_10.pth', name, run.parent / 'zoo', about=MINE, **options)


def test_published_models_predict_as_their_checkpoints(trained, tmp_path, monkeypatch):
    monkeypatch.setenv('CLASP_ZOO', str(tmp_path))
    for task, (config, checkpoint) in trained.items():
        path = publish_model(checkpoint, f'my_{task}', tmp_path, about=MINE)
        assert torch.load(path, weights_only=True)['meta']['name'] == f'my_{task}'
        other, = tmp_path.glob(f'my_{task}_*.safetensors')
        expected = clasp_mm.inference(task, PEOPLE, config, checkpoint)
        for files in ((config, path), (config, other), (f'my_{task}',)):
            for entry, wanted in zip(clasp_mm.inference(task, PEOPLE, *files), expected,
                                     strict=True):
                for key in set(wanted) & {'feature', 'probabilities'}:
                    np.testing.assert_array_equal(entry[key], wanted[key])
        images = torch.randn(2, 3, 64, 32)
        state = load_file(checkpoint)['state_dict']
        for source in (path, other, f'my_{task}', other.name):
            backbone = clasp_mm.get_model(source)
            assert torch.equal(backbone.state_dict()['norm3.weight'],
                               state['backbone.norm3.weight'])
            assert backbone(images)[-1].shape[1] == 256
    assert clasp_mm.list_models('my_', licence='CC*') == ['my_attribute', 'my_reid']
    assert clasp_mm.list_models('my_', task='reid') == ['my_reid']
    assert clasp_mm.list_models('my_', licence='MIT') == []


def test_safetensors_hold_the_same_and_are_checked(run):
    path = publish(run)
    other, = path.parent.glob('*.safetensors')
    one, two = load_file(path), load_file(other)
    assert one['meta'] == two['meta'] and list(one['state_dict']) and not (
        one['state_dict'].keys() ^ two['state_dict'].keys())
    for key, value in one['state_dict'].items():
        assert torch.equal(value, two['state_dict'][key])
    assert other.stem.endswith(file_hash(other)) and publish(run) == path
    for file in (path, other):  # of another day
        file.rename(file.with_name(re.sub(r'_\d{8}-', '_20200102-', file.name)))
    path = publish(run)
    other, = path.parent.glob('*.safetensors')
    assert '_20200102-' in path.name and '_20200102-' in other.name, 'the same bytes again'
    data = other.read_bytes()
    other.write_bytes(data[:-8])
    with pytest.raises(ValueError, match='only partly copied'):
        clasp_mm.get_model(other)
    short = other.with_name('short.safetensors')
    short.write_bytes(data[:-8])
    with pytest.raises(ValueError, match='damaged, cut short'):
        clasp_mm.get_model(short)
    assert not list(publish(run, 'alone', safetensors=False).parent.glob('alone*.safetensors'))


def test_the_initialiser_takes_a_fine_tuned_backbone(run):
    path, = publish(run).parent.glob('*.safetensors')
    cfg = Config.fromfile(run / 'reid.py').model.backbone
    model = clasp_mm.PCMoESwin(**{key: value for key, value in cfg.items() if key != 'type'}
                               | dict(init_cfg=dict(type='clasp_mm.Pretrained',
                                                    checkpoint=str(path))))
    model.init_weights()
    for key, value in model.state_dict().items():
        assert torch.equal(value, load_file(path)['state_dict'][f'backbone.{key}'])


def test_passport_and_entry_say_how_it_was_made(run, monkeypatch):
    (run / 'log' / 'vis_data').mkdir(parents=True)
    rows = [{'lr': 1e-3, 'reid/mAP': 99.0, 'step': 10}, {'reid/rank1': 9.0, 'reid/mAP': 3.123456,
            'time': 1.0, 'step': 5}, {'reid/rank1': 30.0, 'reid/mAP': 22.41234, 'step': 10},
            {'reid/rank1': 8.0, 'reid/mAP': 2.0, 'step': 250}]  # an epoch, not the iteration
    (run / 'log' / 'vis_data' / 'scalars.json').write_text('\n'.join(map(json.dumps, rows)))
    (run / 'git.json').write_text(json.dumps([dict(commit='abc', dirty=False)]))
    path = publish(run)
    side_car = json.loads(path.with_suffix('.json').read_text())
    assert side_car['passport'] == dict(
        task='Re-identification', data_hash=None, split_hash=None, input_size='64x32',
        flip_test=False, rerank=False, selection='last', code_licence='Apache-2.0',
        data_licence='CC0', seed=3, ema=False, clasp_mm_version=clasp_mm.__version__,
        git=dict(commit='abc', dirty=False))
    assert side_car['passport'] == load_file(path)['meta']['passport']
    assert side_car['results'] == {'reid': {'mAP': 22.41, 'rank1': 30.0}}
    assert side_car['files'][0] == path.name and side_car['config_differences'] == []
    monkeypatch.setenv('CLASP_ZOO', str(path.parent))
    entry = read_zoo()['mine']
    assert entry['Metadata']['Passport'] == side_car['passport']
    assert entry['Weights'] == path.name and entry['Metadata']['Safetensors'] in side_car['files']
    assert entry['Results'] == [dict(Task='Re-identification', Dataset='drawn people, val',
                                     Metrics={'mAP': 22.41, 'rank1': 30.0},
                                     Source='ours, measured')]
    assert Config.fromfile(entry['Config']).model.head.num_classes == 100
    scored = json.loads(publish(run, part='test', results={'': {'mAP': 25.0}})
                        .with_suffix('.json').read_text())
    assert scored['passport']['rerank'] == 'k1=20, k2=6, lambda_value=0.3'
    assert scored['results'] == {'reid': {'mAP': 25.0}}


@pytest.mark.parametrize('stem, epoch, selection', [
    ('epoch_10', 10, 'last'), ('epoch_5', 5, 'epoch 5 of 10'),
    ('best_reid_mAP_epoch_5', 5, 'best reid/mAP on the split that is scored')])
def test_selection_is_told(run, stem, epoch, selection):
    for folder in ('bounding_box_train', 'query', 'bounding_box_test'):
        (run / 'data' / folder).mkdir(parents=True)
        (run / 'data' / folder / '0001_c1s1_000000_00.jpg').write_text(folder)
    cfg = Config.fromfile(run / 'reid.py')
    for part in ('train', 'val'):
        cfg[f'{part}_dataloader'].dataset.data_root = str(run / 'data')
    cfg.dump(run / 'reid.py')
    change(run, lambda content: content['meta'].update(epoch=epoch, cfg=cfg.pretty_text))
    (run / 'epoch_10.pth').rename(run / f'{stem}.pth')
    path = publish_model(run / f'{stem}.pth', 'mine', run.parent / 'zoo', about=MINE)
    passport = load_file(path)['meta']['passport']
    assert passport['selection'] == selection
    assert None not in (passport['data_hash'], passport['split_hash'])
    assert passport['data_hash'] != passport['split_hash']


def test_nan_outside_the_backbone_is_refused(run):
    change(run, lambda content: content['state_dict']['head.neck.weight'].fill_(float('inf')))
    with pytest.raises(ValueError, match=r'NaN or infinite values in head\.neck\.weight'):
        publish(run)
    assert not (run.parent / 'zoo').exists()


def test_gaps_and_strangers_are_refused(run):
    def edit(content):
        state = content['state_dict']
        state['head.old.weight'] = state.pop('head.neck.weight')
    change(run, edit)
    with pytest.raises(ValueError, match=r'1 missing: head\.neck\.weight\n.*'
                                         r'1 not in the model: head\.old\.weight'):
        publish(run)


def test_another_config_is_refused_unless_said(run):
    text = (run / 'reid.py').read_text()
    (run / 'reid.py').write_text(text.replace("seed=0", "seed=7").replace(
        "work_dir = None", "work_dir = 'elsewhere'"))
    with pytest.raises(ValueError, match=r'is not the config that .*\n  randomness.seed: 7, not'):
        publish(run)
    side_car = json.loads(publish(run, allow_dirty=True).with_suffix('.json').read_text())
    assert side_car['config_differences'] == ['randomness.seed: 7, not 0']
    change(run, lambda content: content['meta'].update(cfg='a = open("x")'))
    with pytest.raises(ValueError, match=r'config in the checkpoint cannot be read: line 1 holds'):
        publish(run)
    publish(run, allow_dirty=True)


def test_code_that_was_not_committed_is_refused_unless_said(run):
    starts = [dict(commit='0123456789abcdef', dirty=True, changed=['tools/my.py', 'setup.py']),
              dict(commit='fedcba', dirty=False)]
    (run / 'git.json').write_text(json.dumps(starts))
    with pytest.raises(ValueError, match=r'not committed, .*\(changed since commit '
                                         r'0123456789: tools/my.py, setup.py\)'):
        publish(run)
    passport = load_file(publish(run, allow_dirty=True))['meta']['passport']
    assert passport['git'] == dict(commit='fedcba', dirty=True)


def test_checkpoint_of_another_task_is_refused(run, trained):
    with pytest.raises(ValueError, match=r'of another task, Attribute Recognition, and .*for Re-'):
        publish_model(trained['attribute'][1], 'mine', run.parent / 'zoo', run / 'reid.py',
                      about=MINE, allow_dirty=True)
    cfg = Config.fromfile(run / 'reid.py')
    cfg.model = dict(type='mmpretrain.Cooking', backbone=cfg.model.backbone)
    cfg.dump(run / 'reid.py')
    with pytest.raises(ValueError, match=r'task of a model of type mmpretrain\.Cooking'):
        publish(run, allow_dirty=True)


def test_averaged_weights_are_those_of_state_dict(run):
    cfg = Config.fromfile(run / 'reid.py')
    cfg.custom_hooks.append(dict(type='mmengine.EMAHook'))
    cfg.dump(run / 'reid.py')
    change(run, lambda content: content['meta'].update(cfg=cfg.pretty_text))
    with pytest.raises(ValueError, match='no ema_state_dict'):
        publish(run)

    def edit(content):  # as EMAHook saves: the run's own weights are in ema_state_dict
        state = content['state_dict']
        content['ema_state_dict'] = {f'module.{key}': value.clone() for key, value in state.items()}
        state['head.neck.weight'] += 1
    change(run, edit)
    content = load_file(publish(run))
    assert content['meta']['passport']['ema'] and 'ema_state_dict' not in content
    assert torch.equal(content['state_dict']['head.neck.weight'],
                       load_file(run / 'epoch_10.pth')['state_dict']['head.neck.weight'])


def test_entries_are_added_and_replaced(run, monkeypatch):
    monkeypatch.setattr('clasp_mm.zoo.entry.config_cost', lambda cfg, size: (1, 2))
    path = publish(run, 'one').parent / 'metafile.yml'
    path.write_text(path.read_text().replace('Models:', 'Mine: kept\nModels:'))
    publish(run, 'two', results={'': {'mAP': 1.0}})
    publish(run, 'one', results={'': {'mAP': 2.0}, 'attribute': {'mA': '50 ± 1'}})
    content = mmengine.load(path)
    assert [model['Name'] for model in content['Models']] == ['one', 'two']
    assert content['Mine'] == 'kept' and content['Models'][0]['Results'][1]['Metrics'] == {
        'mA': '50 ± 1'}
    path.write_text('Models: nothing')
    with pytest.raises(ValueError, match='is no metafile'):
        publish(run, 'three')
    assert path.read_text() == 'Models: nothing'


def test_all_that_is_missing_is_asked_for_at_once(run):
    config = run / 'reid.py'
    cfg = Config.fromfile(config)
    cfg.randomness.seed = 7
    for part in ('train', 'val', 'test'):
        cfg[f'{part}_dataloader'].dataset.pipeline = [dict(type='LoadImageFromFile')]
    cfg.dump(config)
    (run / 'git.json').write_text(json.dumps([dict(commit='0123456789ab', dirty=True)]))
    with pytest.raises(ValueError) as caught:
        publish_model(run / 'epoch_10.pth', 'mine', run.parent / 'zoo', about=About())
    for part in ('has to say its input size', 'randomness.seed: 7, not 0', 'code that was not '
                 'committed', '--data TEXT (what', 'and --data-licence TEXT (the'):
        assert part in str(caught.value)


def test_what_it_was_trained_on_has_to_be_known(run):
    config = run / 'reid.py'
    with pytest.raises(ValueError, match=r'neither mine nor its config, reid: say --data-licence '
                                         r'TEXT \(the terms of that\)$'):
        publish_model(run / 'epoch_10.pth', 'mine', run.parent / 'zoo', about=About(data='drawn'))
    config.rename(run / f'{REID}.py')  # the zoo knows that config
    path = publish_model(run / 'epoch_10.pth', 'mine', run.parent / 'zoo', about=About())
    entry = mmengine.load(path.parent / 'metafile.yml')['Models'][0]
    assert entry['Metadata']['Data Licence'] == 'Apache-2.0'


@pytest.mark.parametrize('text', ['mAP', '=3', 'mAP=', 'cooking/mAP=3'])
def test_results_that_cannot_be_read(text):
    with pytest.raises(ValueError, match=r'is not as|no task'):
        parse_results([text])


def test_results_are_read():
    assert parse_results(['mAP=22.4', 'rank1=30', 'attribute/mA=55.2 ± 0.2']) == {
        '': {'mAP': 22.4, 'rank1': 30.0}, 'attribute': {'mA': '55.2 ± 0.2'}}


def test_the_tools(run, monkeypatch, capsys):
    zoo = run.parent / 'zoo'

    def tool(name, *args):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, args)])
        runpy.run_path(str(ROOT / 'tools' / name), run_name='__main__')
        return capsys.readouterr().out
    for name, value in (('a', 20.5), ('b', 21.5)):
        out = tool('publish_model.py', run / 'epoch_10.pth', name, '--out', zoo, '--data',
                   'drawn', '--data-licence', 'CC0', '--result', f'mAP={value}',
                   '--scored-on', run / 'reid.py')
        assert Path(out.strip()).is_file()
    with pytest.raises(SystemExit, match=r'compare.py: .*\n  training data: a not known; b not'):
        tool('compare.py', zoo / 'metafile.yml')
    assert '| b | 21.5 | not known |' in tool('compare.py', zoo / 'metafile.yml', '--force')
    with pytest.raises(SystemExit, match=r'publish_model.py: .*mAP'):
        tool('publish_model.py', run / 'epoch_10.pth', 'a', '--result', 'mAP')


def test_mmengine_reads_what_tools_test_gives_it(run):
    path = publish(run)
    other, = path.parent.glob('*.safetensors')
    guard_checkpoints()
    for file in (path, other):
        read = _load_checkpoint(str(file), map_location='cpu')
        for key, value in load_file(path)['state_dict'].items():
            assert torch.equal(read['state_dict'][key], value)

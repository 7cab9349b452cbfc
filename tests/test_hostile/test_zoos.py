"""Zoos that strangers made: configs are only read, names stay names, pages have no markup."""

import hashlib
import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from mmengine.config import Config

import clasp_mm
from clasp_mm.engine.run_report import write_run_report
from clasp_mm.export.write import export_model
from clasp_mm.models.weights.find import file_name, find_weights
from clasp_mm.utils.files import write_yaml
from clasp_mm.zoo.compare import compare
from clasp_mm.zoo.config import buildable, entry_config, read_zoo_config
from clasp_mm.zoo.index import check_entry, read_index, read_zoo
from clasp_mm.zoo.pages import folder_page
from clasp_mm.zoo.publish import find_config
from tests.source_tree import ROOT
from tests.test_hostile.conftest import NANO

REID = 'reid_transreid_pcmoe-swin-nano_1xb32_synthetic-64x32'
DETECTION = 'detection_csp_pcmoe-swin-nano_1xb4_synthetic-256x512'


@pytest.fixture
def zoo(tmp_path, monkeypatch, entry):
    """A folder with a model of its own config; ``zoo(text)`` writes that config."""
    folder = tmp_path / 'zoo'
    folder.mkdir()
    monkeypatch.setenv('CLASP_ZOO', str(folder))

    def write(config, name='own', base=NANO):
        (folder / f'{name}.py').write_text(config)
        write_yaml(folder / 'metafile.yml', {'Models': [
            {**read_index(ROOT)[base], 'Name': name, 'Config': f'{name}.py'}]})
        return folder
    return write


# Configs of a zoo


def text_of(name, **changes):
    cfg = Config.fromfile(ROOT / read_index(ROOT)[name]['Config'])
    cfg.merge_from_dict(changes)
    return cfg.pretty_text


@pytest.mark.parametrize('text, words', [
    ('__import__("os").mkdir({mark!r})\nmodel = dict()', 'line 1 sets no name'),
    ('model = __import__("os").mkdir({mark!r})', 'is no literal'),
    ('_base_ = [{mark!r}]\nmodel = dict()', '_base_'),
    ('_base_ = "evil.py"\nmodel = dict()', '_base_'),
    ('custom_imports = dict(imports=["evil"])\nmodel = dict()', "custom_imports of 'evil'"),
    ('custom_imports = dict(imports="evil")\nmodel = dict()', "custom_imports of 'evil'"),
    ('custom_imports = ["clasp_mm.x", "os.path"]\nmodel = dict()', "custom_imports of 'os.path'"),
    ('custom_imports = dict(imports="clasp_mmevil")\nmodel = dict()', 'custom_imports of'),
    ('default_scope = "evil"\nmodel = dict()', "default_scope='evil'"),
    ('model = dict(backbone=dict(type="X", _scope_="evil"))', "_scope_='evil'"),
    ('filename = "x"\nmodel = dict()', 'filename')])
def test_a_config_of_the_zoo_is_not_run(text, words, zoo, mark, tmp_path, monkeypatch):
    evil = f'x = __import__("os").mkdir({str(mark)!r})\n'
    folder = zoo(text.format(mark=str(mark)))
    (folder / 'evil.py').write_text(evil)
    (folder / 'evil').mkdir()
    (folder / 'evil' / 'registry.py').write_text(evil)
    monkeypatch.syspath_prepend(folder)
    for use in (lambda: clasp_mm.get_model('own', pretrained=False),
                lambda: clasp_mm.inference('reid', 'x.png', 'own'),
                lambda: export_model('own', tmp_path / 'x.pt2', size=(64, 32), format='torch'),
                clasp_mm.register_with_mmpretrain):
        with pytest.raises(ValueError, match=f'own.py would have to be run.*{words}'):
            use()


def test_a_substitution_stays_text(zoo, mark):
    folder = zoo('x = "{{ fileDirname }}"\ny = "{{$HOME:}}"\nmodel = dict()')
    cfg = read_zoo_config(folder / 'own.py')
    assert (cfg.x, cfg.y) == ('{{ fileDirname }}', '{{$HOME:}}')


@pytest.mark.parametrize('name, changes', [
    (REID, {'model.head.type': 'os.mkdir'}),
    (REID, {'model.head.type': 'mmengine.load'}),
    (REID, {'model.head.type': 'evil'}),
    (REID, {'model.head.type': 'mmpretrain.apis.get_model'}),
    (REID, {'model.neck': dict(type='mmengine.fileio.load', file='evil.pkl')}),
    (REID, {'test_pipeline': [dict(type='builtins.exec')]}),
    (REID, {'test_pipeline': [dict(type='mmpretrain.ToTensor', dtype='os.mkdir("x")')]}),
    (REID, {'model.teacher_config': 'evil.py'}),
    (REID, {'model.neck': dict(type='mmpretrain.HFCLIP', name_or_path='evil/model')}),
    (REID, {'model.neck': dict(type='GlobalAveragePooling', trust_remote_code=True)}),
    (DETECTION, {'model.test_cfg.nms.type': '__import__("os").mkdir("x")'}),
    (DETECTION, {'train_dataloader.dataset.metainfo': dict(from_file='evil.py')})])
def test_types_and_texts_that_a_host_would_run_are_refused(name, changes, zoo, mark, tmp_path,
                                                           monkeypatch):
    folder = zoo(text_of(name, **changes), base=name)
    (folder / 'evil.py').write_text(f'x = __import__("os").mkdir({str(mark)!r})\n')
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(ValueError, match=r'own\.py: '):
        entry_config(read_zoo()['own'])


def test_the_library_s_own_configs_as_data_are_the_same(tmp_path):
    for path in sorted(ROOT.glob('configs/quickstart/*.py')):
        cfg = Config.fromfile(path)
        (tmp_path / path.name).write_text(cfg.pretty_text)
        read = read_zoo_config(tmp_path / path.name)
        assert read.to_dict() == cfg.to_dict()
        assert buildable(read).model.backbone.type == cfg.model.backbone.type


def test_a_backbone_of_the_zoo_s_config_alone(zoo, mark):
    zoo(text_of(NANO, **{'model.backbone.drop_rate': dict(type='os.mkdir', path=str(mark))}))
    with pytest.raises(ValueError, match=r'own\.py states clasp_mm\.PCMoESwin with .drop_rate'):
        clasp_mm.get_model('own', pretrained=False)
    zoo(text_of(NANO, **{'model.part_head': dict(type='os.mkdir', path=str(mark))}))
    assert clasp_mm.get_model('own', pretrained=False, task='part').task == 'part'


def test_a_config_found_beside_a_checkpoint_is_not_run(mark, tmp_path):
    from clasp_mm.zoo.publish import publish_model
    torch.save(dict(state_dict={}, meta={}), tmp_path / 'epoch_1.pth')
    (tmp_path / 'own.py').write_text(f'x = __import__("os").mkdir({str(mark)!r})\n')
    assert find_config(tmp_path / 'epoch_1.pth').name == 'own.py'
    with pytest.raises(ValueError, match=r'own\.py would have to be run'):
        publish_model(tmp_path / 'epoch_1.pth', 'x', tmp_path)


# Names and addresses


@pytest.mark.parametrize('weights', [
    '../x-00000000.pth', '/etc/x-00000000.pth', 'a/x-00000000.pth', '.x-00000000.pth',
    'x y-00000000.pth', 'x-00000000.pth\n', 'javascript:alert(1)//x-00000000.pth',
    'javascript://h/x-00000000.pth', 'file:///etc/x-00000000.pth', 'ftp://h/x-00000000.pth',
    'https://h/evil.py?x=-00000000.pth', 'https://h/x.pth#-00000000.pth',
    'https://h/a%2fx-00000000.pth', 'https://h/x)-00000000.pth', 'https://h/"x-00000000.pth',
    'evil.py?x=-00000000.pth', 'x-00000000.pth?y'])
def test_weights_that_are_no_name_and_no_address(weights, entry):
    with pytest.raises(ValueError, match=NANO):
        check_entry({**entry, 'Weights': weights}, 'metafile.yml', [ROOT])
    entry['Metadata']['Safetensors'] = weights
    if not weights.startswith('https'):
        with pytest.raises(ValueError, match=NANO):
            check_entry(entry, 'metafile.yml', [ROOT])


@pytest.mark.parametrize('config', [
    '../evil.py', '/evil.py', 'configs/../../evil.py', 'https://h/evil.py', 'a\\evil.py',
    'evil.py\n', './evil.py', 'evil.py?x', 'javascript:x.py', 3, ['x.py']])
def test_configs_outside_are_refused(config, entry, tmp_path, mark):
    (tmp_path / 'evil.py').write_text(f'x = __import__("os").mkdir({str(mark)!r})\n')
    with pytest.raises(ValueError, match=f'{NANO}: Config is'):
        check_entry({**entry, 'Config': config}, 'metafile.yml', [tmp_path / 'zoo', tmp_path])


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """``serve(name)``: a folder and its address; the hub is ``tmp_path / 'hub'``."""
    monkeypatch.setattr('torch.hub.get_dir', lambda: str(tmp_path / 'hub'))
    running = []

    def start(name):
        folder = tmp_path / name
        folder.mkdir()

        class Handler(SimpleHTTPRequestHandler):

            def __init__(self, *args):
                super().__init__(*args, directory=str(folder))

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=.02))
        thread.start()
        running.append((server, thread))
        return folder, f'http://127.0.0.1:{server.server_port}'

    yield start
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()


def test_two_addresses_of_one_name_are_told_apart(serve, tmp_path):
    found = []
    for name in ('one', 'two'):
        folder, address = serve(name)
        (folder / 'swin.pth').write_text(name)
        found.append(find_weights(f'{address}/swin.pth'))
        assert found[-1].read_text() == name and found[-1].name == 'swin.pth'
    assert [path.read_text() for path in found] == ['one', 'two']
    digest = hashlib.sha256(b'one').hexdigest()[:8]
    (tmp_path / 'one' / f'x-{digest}.pth').write_text('one')
    (tmp_path / 'two' / f'x-{digest}.pth').write_text('one')
    kept = find_weights(f'{address}/x-{digest}.pth?download=1')
    assert kept == tmp_path / 'hub' / 'checkpoints' / f'x-{digest}.pth'


def test_two_zoos_have_their_own_configs(serve, monkeypatch, entry):
    for name in ('one', 'two'):
        folder, address = serve(name)
        (folder / 'own.py').write_text(f'x = {name!r}\nmodel = dict()')
        write_yaml(folder / 'metafile.yml', {'Models': [
            {**entry, 'Name': 'own', 'Config': 'own.py'}]})
        monkeypatch.setenv('CLASP_ZOO', address)
        assert entry_config(read_zoo()['own'], whole=False).x == name


def test_a_query_is_no_hash_and_no_config(serve, tmp_path, monkeypatch, mark, entry):
    folder, address = serve('one')
    (folder / 'evil.py').write_text(f'x = __import__("os").mkdir({str(mark)!r})\n')
    name = 'evil.py?x=-00000000.pth'
    monkeypatch.setenv('CLASP_ZOO', address)
    write_yaml(folder / 'metafile.yml', {'Models': [
        {**entry, 'Name': 'own', 'Config': 'evil.py', 'Weights': f'{address}/{name}'}]})
    for use in (read_zoo, lambda: find_weights(name), lambda: clasp_mm.get_model('own')):
        with pytest.raises((ValueError, FileNotFoundError)):
            use()
    assert not list((tmp_path / 'hub').rglob('*.py'))
    assert file_name('https://h/x.pth?y=-00000000.pth') == 'x.pth'


# Pages


def test_a_page_has_no_markup_of_others(tmp_path, entry):
    bad = 'a|b<script>alert(1)</script>[x](javascript:alert(1))\n`'
    entry.update(Name=bad, **{'In Collection': bad}, Results=[
        {'Task': bad, 'Dataset': bad, 'Metrics': {bad: bad}, 'Source': 'paper'}],
        Weights='https://h/x-00000000.pth')
    entry['Metadata'].update({'Training Data': bad, 'Data Licence': bad, 'Recipe': bad,
                              'Host': bad})
    write_yaml(tmp_path / 'metafile.yml', {'Models': [entry]})
    page = folder_page(tmp_path)
    shown = r'a\|b&lt;script&gt;alert(1)&lt;/script&gt;\[x\](javascript:alert(1)) \`'
    assert page.count(shown) == 8 and '[00000000](https://h/x-00000000.pth)' in page
    assert '<script' not in page and '](javascript' not in page.replace(r'\](javascript', '')
    (row, ) = [line for line in page.splitlines() if 'script' in line]
    assert row.replace(r'\|', '').count('|') == 8, 'seven columns'


def test_a_comparison_has_no_markup_of_others(tmp_path):
    bad = '<img src=x onerror=alert(1)>|[x](javascript:x)'
    passport = {'task': bad, 'data_hash': bad, 'split_hash': [bad], 'input_size': '1x1'}
    for name in 'ab':
        (tmp_path / f'{name}.json').write_text(json.dumps(
            dict(name=name + bad, passport=passport, results={'reid': {bad: bad}})))
    table = compare([str(tmp_path / 'a.json'), str(tmp_path / 'b.json')])
    assert '<img' not in table and table.count(r'&gt;\|\[x\](java') == 2 + 1 + 2 + 3
    (tmp_path / 'b.json').write_text(json.dumps(dict(passport=passport, results=[1])))
    with pytest.raises(ValueError, match='its results are'):
        compare([str(tmp_path / 'a.json'), str(tmp_path / 'b.json')])


def test_links_of_a_run_s_page_are_paths(tmp_path):
    (tmp_path / 'javascript:alert(1)#?.pth').touch()
    (tmp_path / '"><script>.pth').touch()
    (tmp_path / 'metrics.jsonl').write_text('{"step": 1, "loss": 1.0}\n')
    page = write_run_report(tmp_path).read_text()
    assert 'href="javascript:' not in page and '<script' not in page
    assert 'javascript:alert(1)#?.pth</a>' not in page or 'href="javascript%3Aalert' in page

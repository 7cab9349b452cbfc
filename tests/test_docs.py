"""The site builds without a warning; blocks and notebook run as they stand."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope, init_default_scope

import clasp_mm
from clasp_mm import cli
from clasp_mm.engine.config_check import check_config
from clasp_mm.models import PCMoESwin, SemanticSwin
from clasp_mm.synthetic import SyntheticPeople, write_people
from clasp_mm.utils.resources import shipped_file
from tests.documentation import PAGES, blocks
from tests.source_tree import ROOT

pytest.importorskip('mmpose', reason='needs mmpose: bash tools/setup.sh')

DOCS = ROOT / 'docs'
RUN = [page for page in PAGES
       if any(block.language in ('python', 'bash') for block in blocks(page))]


def fine_tuned(task: str, folder: Path) -> None:
    """Config and checkpoint of a task's nano with random weights."""
    cfg = Config.fromfile(next(shipped_file('configs/quickstart').glob(f'{task}_*.py')))
    cfg.model.backbone.init_cfg = None
    cfg.dump(folder / f'{task}.py')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    for name, buffer in model.named_buffers():
        if name.endswith('positive_ratios'):
            buffer.fill_(.3)
    torch.save(dict(state_dict=model.state_dict()), folder / f'{task}.pth')


@pytest.fixture(scope='session')
def things(tmp_path_factory):
    """What the pages say a reader has: crops, checkpoints, a clone's configs."""
    from timm.models.swin_transformer import SwinTransformer
    folder = tmp_path_factory.mktemp('things')
    torch.manual_seed(0)
    write_people(folder / 'drawn', SyntheticPeople(4, 2, size=(64, 32)), workers=1)
    (folder / 'people').mkdir()
    for path in sorted((folder / 'drawn').rglob('*.jpg')):
        path.rename(folder / 'people' / path.name)
    backbone = dict(type='clasp_mm.PCMoESwin', arch='nano', window_size=4)
    state = MODELS.build(backbone).state_dict()
    torch.save(dict(state_dict={f'backbone.{name}': value for name, value in state.items()},
                    meta=dict(backbone=backbone)), folder / 'clasp.pth')
    timm = SwinTransformer(embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24))
    torch.save(timm.state_dict(), folder / 'swin_tiny_patch4_window7_224.pth')
    torch.save(SemanticSwin(arch='tiny').state_dict(), folder / 'solider_swin_tiny.pth')
    for task in ('reid', 'attribute'):
        fine_tuned(task, folder)
    (folder / 'configs').symlink_to(ROOT / 'configs')
    return folder


@pytest.fixture
def desk(things, tmp_path, monkeypatch):
    """A folder of its own with all of them."""
    for path in things.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'work_dirs').mkdir()
    return tmp_path


@pytest.mark.parametrize('page', RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_run_in_their_order(page, desk):
    names = {}
    for block in blocks(page):
        if block.language == 'python' and block.is_config:
            use_config(block, desk)
        elif block.language == 'python':
            exec(compile(block.code, block.name, 'exec'), names)
        elif block.language == 'bash':
            for line in block.code.replace('\\\n', ' ').splitlines():
                words = shlex.split(line, comments=True)
                if words and words[0] == 'clasp':
                    assert cli.main(words[1:]) == 0, f'{block.name}: {line}'
                elif words:
                    subprocess.run(['bash', '-euc', line], check=True)


def use_config(block, desk):
    """Read, check and build a config: the networks without memory, the data that are there."""
    (desk / 'config.py').write_text(block.code)
    cfg = Config.fromfile(desk / 'config.py')
    check_config(cfg)
    init_default_scope(cfg.default_scope)
    try:
        with torch.device('meta'):
            model = MODELS.build(cfg.model)
        assert isinstance(getattr(model, 'backbone', None), PCMoESwin)
        data = [cfg[f'{part}_dataloader'].dataset for part in ('train', 'val', 'test')
                if cfg.get(f'{part}_dataloader')]
        for dataset in data:
            root = str(dataset.get('data_root', ''))
            if root and (desk / root).is_dir():
                assert len(DATASETS.build(dataset)) > 0, block.name
    finally:
        DefaultScope._instance_dict.clear()


# What the head of a host gives for an image of 256x192.
SHAPES = dict(
    mmpose=lambda out: out.shape == (1, 17, 64, 48),
    mmdet=lambda out: [tuple(level.shape[2:]) for level in out[0]] == [
        (64, 48), (32, 24), (16, 12), (8, 6), (4, 3)],
    mmseg=lambda out: out.shape == (1, 150, 64, 48),
    mmpretrain=lambda out: out.shape == (1, 1000))
HOSTS = [block for page in PAGES for block in blocks(page)
         if block.is_config and '::' in block.code]


def test_every_host_has_a_block_of_six_lines():
    shown = [block for block in HOSTS if block.page.name == 'hosts.md']
    assert [host_of(block) for block in shown] == [*SHAPES]
    assert all(len(block.code.strip().splitlines()) <= 6 for block in HOSTS)


def host_of(block):
    return re.match(r"_base_ = '(\w+)::", block.code)[1]


@pytest.mark.parametrize('block', HOSTS, ids=lambda block: f'{block.page.name}-{host_of(block)}')
def test_heads_of_the_hosts_take_the_maps(block, tmp_path):
    (tmp_path / 'config.py').write_text(block.code)
    cfg = Config.fromfile(tmp_path / 'config.py')
    assert 'clasp_mm' in cfg.custom_imports.imports
    check_config(cfg)
    assert cfg.model.backbone.pop('init_cfg').type == 'clasp_mm.Pretrained'
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    DefaultScope._instance_dict.clear()
    assert isinstance(model.backbone, PCMoESwin)
    # the heads take the maps: channels and number fit
    head = dict(mmdet='rpn_head', mmseg='decode_head').get(cfg.default_scope, 'head')
    model.eval()
    out = getattr(model, head)(model.extract_feat(torch.zeros(1, 3, 256, 192, device='meta')))
    assert SHAPES[cfg.default_scope](out)


def test_blocks_that_are_not_run_say_so():
    """A console block has a prompt; json and text blocks are no commands."""
    for page in PAGES:
        for block in blocks(page):
            assert block.language in ('python', 'bash', 'console', 'text', 'json', '{include}',
                                      '{toctree}'), block.name
            if block.language == 'console':
                assert re.match(r'(\$|>>>) ', block.code), block.name
            if block.language == 'json':
                json.loads(block.code)


def test_notebook_runs(desk):
    """All its cells, in order, in less than a minute."""
    names = {}
    notebook = json.loads((DOCS / 'tutorial.ipynb').read_text('utf-8'))
    for number, cell in enumerate(notebook['cells']):
        if cell['cell_type'] == 'code':
            exec(compile(''.join(cell['source']), f'cell {number}', 'exec'), names)
    assert names['features'].shape[0] == len(names['paths'])


@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::PendingDeprecationWarning')
def test_site_builds_without_a_warning(tmp_path, monkeypatch, capfd):
    build = pytest.importorskip(
        'sphinx.cmd.build', reason='needs sphinx: bash tools/setup.sh --with-tests').build_main
    for name in ('COLUMNS', 'NO_COLOR'):  # which conf.py sets
        monkeypatch.setenv(name, os.environ.get(name, ''))
    monkeypatch.setattr(sys, 'path', list(sys.path))
    code = build(['-W', '--keep-going', '-n', '-q', '-d', str(tmp_path / 'trees'), str(DOCS),
                  str(tmp_path / 'site')])
    assert code == 0, capfd.readouterr().err
    site = {path.relative_to(tmp_path / 'site').with_suffix('').as_posix()
            for path in (tmp_path / 'site').rglob('*.html')}
    assert {path.relative_to(DOCS).with_suffix('').as_posix() for path in PAGES[1:]} <= site


def generator():
    spec = importlib.util.spec_from_file_location('docs_generate', DOCS / 'generate.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_commands_page_has_every_verb_with_what_it_reads_and_writes():
    page = generator().commands()
    rows = {row.split('](')[0][3:]: row.removesuffix(' |').split(' | ')
            for row in page.splitlines() if row.startswith('| [')}
    assert {'clasp train', 'clasp data check', 'clasp analyse tsne', 'clasp doctor'} <= {*rows}
    assert len(rows) == sum(len(node) - 1 if isinstance(node, dict) else 1
                            for name, node in cli.VERBS.items() if name)
    assert rows['clasp train'][2:] == ['`CONFIG`', '`--work-dir`']
    assert rows['clasp search'][2:] == ['`FOLDER`, `QUERY`', '`--html` (work_dirs/search.html)']
    assert rows['clasp export'][2:] == ['`SOURCE`', '`--out` (work_dirs/exported)']
    assert rows['clasp test'][1].endswith('<br>`clasp test CONFIG CHECKPOINT`')
    assert all('<br>`clasp ' in row[1] and len(row) == 4 for row in rows.values())


def test_reference_shows_the_methods_of_public_classes():
    page = generator().public()
    for name, methods in dict(ReIDIndex='build, search, save, load', Inferencer='__call__, stream',
                              SemanticSwin='forward, from_embed, get_layer_depth').items():
        assert f'autoclass:: clasp_mm.{name}\n   :members: {methods}\n' in page
    assert 'autofunction:: clasp_mm.inference\n```' in page


def test_benchmark_tables_tell_which_goals_were_missed():
    page = generator().benchmarks()
    runs = json.loads((DOCS / 'benchmarks.json').read_text('utf-8'))['runs']
    rows = [row for run in runs for row in run['rows']]
    assert page.count('**missed**') == sum(row['met'] is False for row in rows) > 0
    assert page.count('| met |') == sum(row['met'] is True for row in rows)
    for run in runs:
        assert all(run[key] in page for key in ('command', 'date', 'machine'))


def test_public_names_are_listed():
    assert {*clasp_mm.__all__} <= {*dir(clasp_mm)}
    assert not {'import_module', 'Any', 'switch_on'} & {*dir(clasp_mm)}
    assert clasp_mm.__version__ in (ROOT / 'CHANGELOG.md').read_text('utf-8')


@pytest.mark.parametrize('name', ['bug', 'question'])
def test_issue_forms_ask_for_the_doctor(name):
    form = yaml.safe_load((ROOT / f'.github/ISSUE_TEMPLATE/{name}.yml').read_text('utf-8'))
    asked = {part['id']: part for part in form['body'] if part['type'] == 'textarea'}
    assert 'clasp doctor' in asked['doctor']['attributes']['label']
    assert asked['doctor']['validations']['required']

import copy
import re
import runpy
import shutil
import sys

import mmengine
import pytest
from mmengine.config import Config

from clasp_mm.models.macs import config_cost
from clasp_mm.models.weights.find import find_weights
from clasp_mm.zoo.index import (
    list_models,
    model_task,
    near_models,
    read_index,
    read_metafile,
    read_zoo,
)
from clasp_mm.zoo.pages import folder_page, zoo_pages
from tests.source_tree import ROOT

NANO = 'clasp_pcmoe-swin-nano_1xb32_synthetic-64x32'


@pytest.fixture
def entry():
    return copy.deepcopy(read_index(ROOT)[NANO])


def write(folder, *entries):
    mmengine.dump({'Collections': [{'Name': 'Mine'}], 'Models': list(entries)},
                  folder / 'metafile.yml')
    return folder / 'metafile.yml'


def test_pages_are_those_of_the_metafiles():
    pages = zoo_pages(ROOT)
    assert len(pages) == 1 + len(mmengine.load(ROOT / 'model-index.yml')['Import'])
    for path, text in pages.items():
        assert path.read_text(encoding='utf-8') == text, (
            f'{path.name}: run python tools/make_model_zoo.py')


def test_the_tool_writes_them_and_checks_them(tmp_path, monkeypatch):
    shutil.copytree(ROOT / 'configs' / 'quickstart', tmp_path / 'configs' / 'quickstart')
    (tmp_path / 'tools').mkdir()
    tool = shutil.copy2(ROOT / 'tools' / 'make_model_zoo.py', tmp_path / 'tools')
    mmengine.dump({'Import': ['configs/quickstart/metafile.yml']}, tmp_path / 'model-index.yml')

    def run(*args):
        monkeypatch.setattr(sys, 'argv', ['make_model_zoo.py', *args])
        runpy.run_path(str(tool), run_name='__main__')

    readme = tmp_path / 'configs' / 'quickstart' / 'README.md'
    with pytest.raises(SystemExit, match=r'model_zoo.md differ from the metafiles: run'):
        run('--check')
    assert not (tmp_path / 'model_zoo.md').exists()
    run()
    run('--check')
    readme.write_text(readme.read_text().replace('| 1.67 M', '| 1.66 M'))
    with pytest.raises(SystemExit, match=r'quickstart/README.md differ'):
        run('--check')
    metafile = readme.with_name('metafile.yml')
    metafile.write_text(metafile.read_text().replace('Recipe:', 'Receipt:', 1))
    with pytest.raises(SystemExit, match=r"make_model_zoo.py: .*field 'Recipe' is missing"):
        run()


def test_no_row_links_a_file_that_does_not_exist():
    seen = 0
    for path, text in zoo_pages(ROOT).items():
        rows = [line for line in text.splitlines() if line.startswith('| [')]
        for link in re.findall(r'\]\(([^)]+)\)', '\n'.join(rows)):
            seen += 1
            assert '://' in link or (path.parent / link).is_file(), f'{path}: {link}'
    assert seen >= 2 * len(read_index(ROOT))


def test_every_config_of_a_family_has_its_entry():
    entries = read_index(ROOT).values()
    families = {entry['Config'].rsplit('/', 1)[0] for entry in entries}
    configs = {str(path.relative_to(ROOT)) for family in families
               for path in (ROOT / family).glob('*.py')}
    assert {entry['Config'] for entry in entries} == configs, (
        'add an entry to the metafile.yml beside it')


def test_the_scores_of_the_paper_are_not_ours():
    for entry in read_index(ROOT).values():
        synthetic = 'synthetic' in entry['Metadata']['Training Data']
        for result in entry['Results'] or ():
            assert result['Source'] == ('ours, measured' if synthetic else 'paper'), entry['Name']


@pytest.mark.parametrize('name', [
    NANO, 'reid_transreid_pcmoe-swin-nano_1xb32_synthetic-64x32',
    'dino_swin-nano_1xb32_synthetic-64x32'])
def test_task_and_cost_are_those_of_the_config(name):
    entry = read_index(ROOT)[name]
    meta, cfg = entry['Metadata'], Config.fromfile(ROOT / entry['Config'])
    assert model_task(cfg.model) == meta['Task']
    assert config_cost(cfg, meta['Input Size']) == (meta['Parameters'], meta['FLOPs'])


@pytest.mark.parametrize('part, field', [
    ('entry', 'Results'), ('entry', 'Config'), ('Metadata', 'Data Licence'),
    ('Metadata', 'FLOPs'), ('result', 'Source'), ('result', 'Dataset')])
def test_missing_field_is_named(tmp_path, entry, part, field):
    {'entry': entry, 'Metadata': entry['Metadata'], 'result': entry['Results'][0]}[part].pop(field)
    with pytest.raises(ValueError, match=f'metafile.yml, {entry["Name"]}: field {field!r}'):
        read_metafile(write(tmp_path, entry), ROOT)


@pytest.mark.parametrize('part, field, value', [
    ('entry', 'Config', 'configs/none.py'), ('entry', 'Weights', 'weights.pth'),
    ('Metadata', 'Task', 'Cooking'), ('Metadata', 'Input Size', 'large'),
    ('Metadata', 'Parameters', '30 M'), ('result', 'Source', 'a friend')])
def test_wrong_value_is_named(tmp_path, entry, part, field, value):
    {'entry': entry, 'Metadata': entry['Metadata'], 'result': entry['Results'][0]}[part][field] = (
        value)
    with pytest.raises(ValueError, match=f'{entry["Name"]}: .*{re.escape(value)}'):
        read_metafile(write(tmp_path, entry), ROOT)


def test_a_name_comes_once_and_a_metafile_has_models(tmp_path, entry):
    entry['Config'] = 'config.py'
    (tmp_path / 'config.py').touch()
    write(tmp_path, entry, entry)
    mmengine.dump({'Import': ['metafile.yml']}, tmp_path / 'model-index.yml')
    with pytest.raises(ValueError, match='the name is there already'):
        read_index(tmp_path)
    (tmp_path / 'metafile.yml').write_text('Modells: []')
    with pytest.raises(ValueError, match='is no metafile'):
        read_metafile(tmp_path / 'metafile.yml', ROOT)


def test_list_models_chooses_by_name_task_and_licence():
    assert list_models('clasp_*tiny*luperson-') == [
        'clasp_pcmoe-swin-tiny_8xb96-30e_luperson-256x128']
    assert list_models('rethink*-tiny*', task='attribute', licence='CC BY-NC*') == [
        'rethinkpar_pcmoe-swin-tiny_1xb64-30e_pa100k-256x128']
    assert list_models(task='Human Parsing') == list_models(task='parsing') != []
    assert NANO in list_models(task='parsing'), 'has results of it'
    assert not [name for name in list_models(task='pose') if name.startswith('clasp')]
    with pytest.raises(ValueError, match="no task 'poses'; one of pretrain"):
        list_models(task='poses')


def test_a_folder_of_the_zoo_adds_its_models(tmp_path, entry, monkeypatch):
    entry.update(Name='mine', Weights='mine_20260101-01234567.pth', Results=None)
    write(tmp_path, entry)
    monkeypatch.setenv('CLASP_ZOO', str(tmp_path))
    assert list_models('min') == ['mine'] and read_zoo()['mine']['Weights'].startswith('mine')
    monkeypatch.delenv('CLASP_ZOO')
    assert list_models('min') == []


def test_a_folder_that_is_not_there_is_left_out_and_named(tmp_path, entry, monkeypatch):
    entry.update(Name='mine', Weights='mine_20260101-01234567.pth', Results=None)
    (tmp_path / 'zoo').mkdir()
    write(tmp_path / 'zoo', entry)
    (tmp_path / 'zoo' / entry['Weights']).touch()
    shipped = list_models(weights=True)
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('CLASP_ZOO', f'{tmp_path / "gone"}:~/zoo')
    for weights in (False, True):
        with pytest.warns(UserWarning, match="CLASP_ZOO names '.*gone', which is no folder"):
            assert {'mine', *shipped} <= {*list_models(weights=weights)}
    assert find_weights('clasp_nano').is_file()


def test_nearest_names_are_offered():
    assert NANO in near_models(NANO.replace('nano', 'nona'), read_index(ROOT))
    assert 'list_models' in near_models('zzz', read_index(ROOT))


def test_readme_without_markers_is_named(tmp_path, entry):
    entry['Config'] = 'config.py'
    (tmp_path / 'config.py').touch()
    write(tmp_path, entry)
    mmengine.dump({'Import': ['metafile.yml']}, tmp_path / 'model-index.yml')
    with pytest.raises(FileNotFoundError, match=r'README\.md is not there'):
        zoo_pages(tmp_path)
    (tmp_path / 'README.md').write_text('no place')
    with pytest.raises(ValueError, match=r'README\.md needs the lines'):
        zoo_pages(tmp_path)


def test_page_of_a_folder_links_its_files(tmp_path, entry):
    with pytest.raises(FileNotFoundError, match='has no metafile'):
        folder_page(tmp_path)
    file = 'mine_20260101-01234567.pth'
    write(tmp_path, entry | {'Weights': file})
    with pytest.raises(FileNotFoundError, match=f'{entry["Name"]}: there is no .*{file}'):
        folder_page(tmp_path)
    (tmp_path / file).touch()
    page = folder_page(tmp_path)
    assert f'| {entry["Name"]} |' in page and f'[01234567]({file})' in page
    assert '](configs' not in page and 'safetensors' not in page
    entry['Metadata']['Safetensors'] = other = 'mine_20260101-89abcdef.safetensors'
    write(tmp_path, entry | {'Weights': file})
    (tmp_path / other).touch()
    assert f'[01234567]({file}), [safetensors]({other})' in folder_page(tmp_path)

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from clasp_mm import __version__
from tests.source_tree import ROOT, imports_of, sources
from tests.test_imports import NEED_A_HOST

REQUIREMENTS = ROOT / 'requirements'
# What provides a module, where the name of its distribution is another.
DISTRIBUTIONS = {'yaml': 'pyyaml', 'cv2': 'opencv-python', 'PIL': 'pillow',
                 'sklearn': 'scikit-learn', 'open_clip': 'open-clip-torch', 'mmcv': 'mmcv-lite',
                 'mmseg': 'mmsegmentation', 'markdown_it': 'markdown-it-py',
                 'huggingface_hub': 'huggingface-hub'}


def parsed(name: str) -> list[Requirement]:
    lines = (REQUIREMENTS / f'{name}.txt').read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith('#')]


def requirements(name: str) -> dict[str, Requirement]:
    return {canonical(requirement.name): requirement for requirement in parsed(name)}


def canonical(name: str) -> str:
    return re.sub(r'[-_.]+', '-', name).lower()


@pytest.mark.parametrize('python', ['3.10', '3.11', '3.12', '3.13', '3.14'])
def test_tested_set_lies_within_the_accepted_ranges(python):
    tested = [requirement for requirement in parsed('constraints') if requirement.marker is None
              or requirement.marker.evaluate({'python_version': python})]
    names = [canonical(requirement.name) for requirement in tested]
    assert len(names) == len(set(names)), 'two versions for one Python'
    files = ('core', 'clip', 'hosts', 'host_needs', 'parquet', 'tests', 'export', 'docs')
    accepted = {name: requirement for file in files
                for name, requirement in requirements(file).items()}
    accepted['mmcv'] = accepted['mmcv-lite']
    outside = []
    for requirement in tested:
        version = str(requirement.specifier).lstrip('=')
        wanted = accepted.get(canonical(requirement.name))
        if wanted is not None and not wanted.specifier.contains(version):
            outside.append(f'{requirement} is not in {wanted}')
    assert not outside
    if python >= '3.11':  # with 3.10 the newest versions of some are not to be had
        bounded = {name for name, requirement in accepted.items() if requirement.specifier}
        assert bounded <= set(names), 'a bounded package without a tested version'


def test_numpy_is_one_that_has_a_wheel_for_the_python():
    """numpy 1.26 has none for Python 3.13."""
    numpy = {str(r.marker): str(r.specifier) for r in parsed('constraints') if r.name == 'numpy'}
    assert numpy['python_version < "3.13"'] == '==1.26.4'
    assert numpy['python_version >= "3.13"'].startswith('==2.')


def test_no_python_and_no_opencv_is_refused_for_being_new():
    assert "python_requires='>=3.10'," in (ROOT / 'setup.py').read_text()
    core = requirements('core')
    for name, versions in (('opencv-python', ('4.8.0', '5.0.0.93')), ('numpy', ('1.23', '2.4.6')),
                           ('torch', ('2.1.0', '2.14.1')), ('torchvision', ('0.16', '0.29.1'))):
        assert all(core[name].specifier.contains(version) for version in versions), name


def test_torch_is_pinned_to_the_very_build():
    tested = requirements('constraints')
    for name in ('torch', 'torchvision'):  # == would let a local build such as 2.13.0+cpu in
        assert str(tested[name].specifier).startswith('===')


def test_every_imported_package_is_required():
    core = {*requirements('core'), 'mmcv-lite'}  # clasp install brings one mmcv or the other
    extras = ('clip', 'parquet', 'export', 'hosts', 'host_needs')
    lazily = {name for extra in extras for name in requirements(extra)}
    for module, tree in sources().items():
        for found in imports_of(module, tree):
            top = found.name.split('.')[0]
            if top in sys.stdlib_module_names or top == 'clasp_mm':
                continue
            needed = canonical(DISTRIBUTIONS.get(top, top))
            lazy = not found.top_level or module.startswith(NEED_A_HOST)
            assert needed in core or (needed in lazily and lazy), (
                f'{module} imports {found.name}, which requirements/core.txt does not name')


def test_model_index_lists_every_metafile_and_their_configs_exist():
    listed = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    assert sorted(listed) == sorted(
        str(path.relative_to(ROOT)) for path in (ROOT / 'configs').rglob('metafile.yml'))
    for metafile in listed:
        for model in yaml.safe_load((ROOT / metafile).read_text()).get('Models') or ():
            assert (ROOT / model['Config']).is_file(), f'{metafile}: {model["Config"]}'


def test_every_folder_of_code_is_a_package():
    """setuptools packs no other, though a clone imports it."""
    folders = {path.parent for path in (ROOT / 'clasp_mm').rglob('*.py')
               if '.mim' not in path.parts}
    assert not [folder for folder in folders if not (folder / '__init__.py').is_file()]


def test_citation_names_this_version():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert citation['version'] == __version__
    assert citation['license'] == 'Apache-2.0'
    assert 'Apache License' in (ROOT / 'LICENSE').read_text()[:200]


def test_installed_metadata_is_what_the_requirements_say():
    required = [Requirement(line) for line in importlib.metadata.requires('clasp_mm')]
    core = {canonical(r.name): str(r.specifier) for r in required if r.marker is None}
    assert core == {name: str(r.specifier) for name, r in requirements('core').items()}, (
        'requirements/ has changed since the installation: run tools/setup.sh again')
    extras = {extra: {canonical(r.name) for r in required
                      if r.marker and r.marker.evaluate({'extra': extra})}
              for extra in ('clip', 'parquet', 'export')}
    assert extras == {extra: set(requirements(extra)) for extra in extras}


@pytest.fixture(scope='module')
def checkout(tmp_path_factory) -> Path:
    """The files of this tree that git would keep, away from the tree."""
    target = tmp_path_factory.mktemp('checkout')
    try:
        listed = subprocess.run(
            ['git', 'ls-files', '-co', '--exclude-standard'], cwd=ROOT, capture_output=True,
            text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip('git and a clone are needed')
    for name in listed:
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    for name in ('clasp_nano_20260101-01234567', 'reid_nano_20260101-89abcdef'):
        for suffix in ('safetensors', 'json', 'py'):
            (target / 'zoo').mkdir(exist_ok=True)
            (target / 'zoo' / f'{name}.{suffix}').touch()
    if not (target / 'zoo' / 'metafile.yml').exists():
        (target / 'zoo' / 'metafile.yml').write_text('Models: []')
    return target


def run(*command: str, cwd: Path, **environment: str) -> str:
    kept = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300,
                          env={**kept, **environment})
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    return done.stdout


def build_wheel(source: Path, target: Path) -> Path:
    run(sys.executable, '-m', 'pip', 'wheel', str(source), '--no-deps', '--no-build-isolation',
        '--no-index', '-w', str(target), cwd=target)
    (wheel,) = target.glob('*.whl')
    return wheel


def package_of_mim(site: Path) -> Path:
    """Where mim looks for configs and tools, of what is installed in ``site``."""
    pytest.importorskip('mim', reason='openmim is not installed')
    return Path(run(sys.executable, '-W', 'ignore', '-c', 'from mim.utils import get_installed_path'
                    '; print(get_installed_path("clasp_mm"))', cwd=site,
                    PYTHONPATH=str(site)).strip())


@pytest.mark.slow
def test_wheel_carries_configs_tools_and_licence(checkout, tmp_path):
    wheel = build_wheel(checkout, tmp_path)
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ('configs', 'tools', 'requirements'):
        expected = {f'clasp_mm/.mim/{path.relative_to(checkout).as_posix()}'
                    for path in (checkout / folder).rglob('*')
                    if path.is_file() and path.suffix != '.pyc'}
        assert expected <= names
    assert 'clasp_mm/.mim/model-index.yml' in names
    zoo = {path.name for path in (checkout / 'zoo').iterdir()}
    assert {Path(name).name for name in names if name.startswith('clasp_mm/.mim/zoo/')} == {
        name for name in zoo if name.startswith('clasp_nano_') or not name.endswith('.safetensors')}
    assert any(name.startswith('reid_nano_') and name.endswith('.safetensors') for name in zoo)
    assert {f'clasp_mm/{path.relative_to(checkout / "clasp_mm").as_posix()}'
            for pattern in ('*.py', '*.j2') for path in (checkout / 'clasp_mm').rglob(pattern)
            } <= names
    assert any(re.search(r'dist-info/(licenses/)?LICENSE$', name) for name in names)
    strays = {name for name in names if not name.startswith('clasp_mm') or name.endswith('.pyc')}
    assert not strays

    installed = tmp_path / 'installed'
    run(sys.executable, '-m', 'pip', 'install', str(wheel), '--no-deps', '--no-index', '--target',
        str(installed), cwd=tmp_path)
    out = run(sys.executable, '-c',
              'import clasp_mm; from clasp_mm.utils.resources import shipped_file;'
              'print(clasp_mm.__file__); print(shipped_file("configs/pretrain")); '
              'print(shipped_file("tools/train.py"))', cwd=tmp_path, PYTHONPATH=str(installed))
    assert all(line.startswith(str(installed)) for line in out.split())
    assert __version__ in run(sys.executable, '-m', 'clasp_mm', '--version', cwd=tmp_path,
                              PYTHONPATH=str(installed))
    zoo = run(sys.executable, '-c', 'import clasp_mm; clasp_mm.get_model(clasp_mm.list_models('
              '"clasp_*nano_1xb32")[0], False); print(clasp_mm.__file__)', cwd=tmp_path,
              PYTHONPATH=str(installed))
    assert zoo.strip().endswith(str(installed / 'clasp_mm' / '__init__.py'))
    assert package_of_mim(installed) == installed / 'clasp_mm'


@pytest.mark.slow
def test_a_wheel_from_the_source_archive_is_the_same(checkout, tmp_path):
    run(sys.executable, '-c', 'from setuptools import build_meta; import sys; '
        'build_meta.build_sdist(sys.argv[1])', str(tmp_path), cwd=checkout)
    (archive,) = tmp_path.glob('*.tar.gz')
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / 'unpacked', filter='data')
    (source,) = (tmp_path / 'unpacked').iterdir()
    contents = []
    for name, tree in (('a', source), ('b', checkout)):
        (tmp_path / name).mkdir()
        contents.append(set(zipfile.ZipFile(build_wheel(tree, tmp_path / name)).namelist()))
    assert contents[0] == contents[1]


@pytest.mark.slow
def test_editable_install_links_the_resources(checkout, tmp_path):
    run(sys.executable, '-m', 'pip', 'install', '-e', str(checkout), '--no-deps', '--no-index',
        '--no-build-isolation', '--target', str(tmp_path / 'site'), cwd=tmp_path)
    links = checkout / 'clasp_mm' / '.mim'
    assert (links / 'tools' / 'train.py').samefile(checkout / 'tools' / 'train.py')
    assert (links / 'configs').is_symlink() and (links / 'model-index.yml').is_symlink()
    assert package_of_mim(tmp_path / 'site') == checkout / 'clasp_mm'
    # a second time, and a wheel afterwards: the links are neither in the way nor packed
    run(sys.executable, '-m', 'pip', 'install', '-e', str(checkout), '--no-deps', '--no-index',
        '--no-build-isolation', '--target', str(tmp_path / 'site2'), cwd=tmp_path)
    (tmp_path / 'wheel').mkdir()
    names = zipfile.ZipFile(build_wheel(checkout, tmp_path / 'wheel')).namelist()
    assert len(names) == len(set(names))
    assert 'clasp_mm/.mim/tools/train.py' in names


def test_ruff_finds_nothing():
    done = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--no-cache', '.'], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout

"""Metadata and packaging: the accepted versions are read from requirements/, their only home."""

import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.dist_info import dist_info

ROOT = Path(__file__).resolve().parent
# What travels beside the code, where OpenMMLab's tools look for it: clasp_mm/.mim/.
RESOURCES = tuple(name for name in ('configs', 'tools', 'requirements', 'model-index.yml', 'zoo')
                  if (ROOT / name).exists())
IGNORED = shutil.ignore_patterns('__pycache__', '*.pyc', '.*')
BACKBONE = 'clasp_nano_'  # of zoo/ its weights alone travel


def stays(folder: str, names: list[str]) -> set[str]:
    """What of a folder of RESOURCES is not copied."""
    return IGNORED(folder, names) | {name for name in names if name.endswith('.safetensors')
                                     and not name.startswith(BACKBONE)}


def requirements(name: str) -> list[str]:
    """Return the requirement lines of ``requirements/{name}.txt``."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith('#')]


def extras() -> dict[str, list[str]]:
    """Return the extras. The hosts are none of them: `clasp install` installs those."""
    groups = {name: requirements(name) for name in ('clip', 'parquet', 'export', 'docs')}
    return {**groups, 'tests': [*groups['docs'], *groups['export'], *requirements('tests')]}


class BuildPy(build_py):
    """Add what travels beside the code to the package: copied, or linked when editable."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            self._link()
        else:
            self._copy(Path(self.build_lib) / 'clasp_mm' / '.mim')

    def _copy(self, target: Path) -> None:
        if target.exists():
            shutil.rmtree(target)
        target.mkdir(parents=True)
        for name in RESOURCES:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, target / name, ignore=stays)
            else:
                shutil.copy2(source, target / name)

    def _link(self) -> None:
        target = ROOT / 'clasp_mm' / '.mim'
        target.mkdir(exist_ok=True)
        for name in RESOURCES:
            link = target / name
            if link.is_symlink():
                link.unlink()
            link.symlink_to(os.path.relpath(ROOT / name, target))


class DistInfo(dist_info):
    """Tell mim where an editable package is: it joins this name to the folder of the metadata."""

    def run(self) -> None:
        super().run()
        if self.distribution.get_command_obj('editable_wheel', create=False):
            (Path(self.dist_info_dir) / 'top_level.txt').write_text(
                f'{ROOT / "clasp_mm"}\n', 'utf-8')


def version() -> str:
    """Return ``__version__`` without importing the package."""
    text = (ROOT / 'clasp_mm' / 'version.py').read_text(encoding='utf-8')
    return re.search(r"__version__ = '(.+)'", text).group(1)


def readme() -> str:
    """Return the README, the long description; a source tree without one still builds."""
    path = ROOT / 'README.md'
    return path.read_text(encoding='utf-8') if path.exists() else ''


setup(
    name='clasp_mm',
    version=version(),
    description='CLIP-guided self-supervised pretraining for human-centric vision, on MMEngine',
    long_description=readme(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords='self-supervised learning, person re-identification, human parsing, pose, CLIP, '
             'mixture of experts, OpenMMLab',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    python_requires='>=3.10',
    packages=find_packages(include=['clasp_mm', 'clasp_mm.*']),
    package_data={'clasp_mm.visualization': ['templates/*.j2']},
    include_package_data=False,
    install_requires=requirements('core'),
    extras_require=extras(),
    entry_points={'console_scripts': ['clasp = clasp_mm.cli:main']},
    cmdclass={'build_py': BuildPy, 'dist_info': DistInfo},
    zip_safe=False,
)

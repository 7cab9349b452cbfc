"""How the hosts come to what stands in for their compiled parts, and to the mends in memory.

Two ways lead there. :func:`install_operators` writes files beside the hosts, which serve every
program, the hosts' own tools included. :func:`switch_on`, called by ``import clasp_mm``, serves
processes where those files are not. A compiled module wins over both.
"""

import base64
import hashlib
import importlib.util
import pkgutil
import subprocess
import sys
import sysconfig
import warnings
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_EXTENSION = 'mmcv._ext'
_EVALUATION = 'xtcocotools'
STAND_INS = Path(__file__).parent / 'stand_ins'
# What stands in for a module that is not there, under its name.
_FILES = {_EXTENSION: STAND_INS / 'mmcv_ext.py', _EVALUATION: STAND_INS / _EVALUATION}
# Modules of the hosts, and the function of clasp_mm.compat that is called once each is imported.
_MENDS = {
    'mmengine.runner.checkpoint': 'allow_mmengine_checkpoints',
    'mmpose.visualization.opencv_backend_visualizer': 'mend_draw_circles',
}
_WRITTEN = 'Written by clasp_mm'


def switch_on() -> None:
    """Serve what is missing of the hosts, and mend what is imported of them, in this process."""
    if not hasattr(pkgutil, 'find_loader'):  # since Python 3.14; mmengine 0.10.7 asks for it
        pkgutil.find_loader = _find_loader
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())
    for name in _MENDS:
        if name in sys.modules:
            _mend(name)


def operators_in_use() -> str | None:
    """Whose operators ``mmcv.ops`` calls: ``'compiled mmcv'``, ``"clasp_mm's"``, None: no mmcv."""
    try:
        module = import_module(_EXTENSION)
    except ModuleNotFoundError:
        return None
    return "clasp_mm's" if getattr(module, 'clasp_mm_operators', False) else 'compiled mmcv'


def install_operators(site_packages: str | Path | None = None) -> list[Path]:
    """Write what stands in for mmcv's compiled module and for xtcocotools beside the hosts.

    ``mmcv/_ext.py`` joins an mmcv without compiled operators, and the list of files of its
    distribution, so that pip removes it with the rest; ``xtcocotools/`` is written where that
    package is not. A compiled module of mmcv is left alone. mmcv and mmcv-lite in one folder get
    a warning.

    Args:
        site_packages: The folder that holds ``mmcv``; default: of the running Python.

    Returns:
        The files that were written.

    Raises:
        FileNotFoundError: There is no mmcv.
        RuntimeError: Its compiled module cannot be loaded, and hides what would be written.
    """
    root = Path(site_packages or sysconfig.get_paths()['purelib'])
    if not (root / 'mmcv' / '__init__.py').is_file():
        raise FileNotFoundError(f'no mmcv in {root}: `pip install mmcv-lite==2.1.0` first')
    if all(any(root.glob(f'{name}-*.dist-info')) for name in ('mmcv', 'mmcv_lite')):
        warnings.warn(f'mmcv and mmcv-lite are both installed in {root}, in one folder: the files '
                      'are those of the later. `pip uninstall mmcv mmcv-lite`, then install one',
                      stacklevel=2)
    written = []
    compiled = [path for path in sorted((root / 'mmcv').glob('_ext*'))
                if path.name in {f'_ext{suffix}' for suffix in EXTENSION_SUFFIXES}]
    if compiled:
        _check_loads(compiled[0])
    else:
        written.append(_write(_FILES[_EXTENSION], root / 'mmcv' / '_ext.py'))
        _list_with_mmcv(written[0], root)
    own = root / _EVALUATION / '__init__.py'
    if not own.is_file() or _WRITTEN in own.read_text('utf-8'):
        written += [_write(path, root / _EVALUATION / path.name)
                    for path in sorted(_FILES[_EVALUATION].glob('*.py'))]
    return written


def _write(source: Path, target: Path) -> Path:
    return _put(target, f'# {_WRITTEN}: `clasp install` writes it anew.\n'
                        f'{source.read_text("utf-8")}')


def _put(path: Path, text: str) -> Path:
    """Write a file in the place of the old one, which uv may share with other environments."""
    path.parent.mkdir(exist_ok=True)
    new = path.with_name(f'{path.name}.new')
    new.write_text(text, 'utf-8')
    return new.replace(path)


def _list_with_mmcv(path: Path, root: Path) -> None:
    """Add ``path`` to the files that pip removes with mmcv-lite."""
    name = path.relative_to(root).as_posix()
    data = path.read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')
    for record in root.glob('mmcv_lite-*.dist-info/RECORD'):
        lines = [line for line in record.read_text('utf-8').splitlines()
                 if not line.startswith(f'{name},')]
        _put(record, '\n'.join([*lines, f'{name},sha256={digest},{len(data)}', '']))


def _check_loads(compiled: Path) -> None:
    code = ('import sys, torch\nfrom importlib import machinery, util\n'
            'loader = machinery.ExtensionFileLoader(*sys.argv[1:])\n'
            'loader.create_module(util.spec_from_loader(sys.argv[1], loader))')
    done = subprocess.run([sys.executable, '-c', code, _EXTENSION, str(compiled)],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f'exit status {done.returncode}'])[-1]
        raise RuntimeError(
            f'{compiled} is there and cannot be loaded ({reason}): it was compiled for another '
            'torch, most likely. `pip uninstall mmcv mmcv-lite`, then '
            '`pip install mmcv-lite==2.1.0`, then again')


def _find_loader(name: str) -> Loader | None:
    """``pkgutil.find_loader``, as it was before Python 3.14."""
    try:
        spec = importlib.util.find_spec(name)
    except (AttributeError, TypeError, ValueError) as error:
        raise ImportError(f'{name} cannot be looked up: {error}') from error
    return spec and spec.loader


def _mend(module: str) -> None:
    getattr(import_module('clasp_mm.compat'), _MENDS[module])()


class _Finder:
    """Asks the other finders first: what they know is used."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in _FILES and name not in _MENDS:
            return None
        others = (finder.find_spec(name, path, target) for finder in list(sys.meta_path)
                  if finder is not self and hasattr(finder, 'find_spec'))
        spec = next((spec for spec in others if spec is not None), None)
        if name in _MENDS:
            if spec is not None:
                spec.loader = _Mending(spec.loader)
        elif spec is None or spec.loader is None:  # None: a folder that a package left behind
            return _own_spec(name)
        elif isinstance(spec.loader, ExtensionFileLoader):
            spec.loader = _CompiledOrOurs(spec.loader)
        return spec


def _own_spec(name: str) -> ModuleSpec:
    path = _FILES[name]
    if path.suffix == '.py':
        return importlib.util.spec_from_file_location(name, path)
    return importlib.util.spec_from_file_location(
        name, path / '__init__.py', submodule_search_locations=[str(path)])


class _Wrapped(Loader):
    """A loader that stands back once its module is there."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__['loader'], name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = module.__spec__.loader = self.loader
        self.loader.exec_module(module)


class _Mending(_Wrapped):

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        _mend(module.__name__)


class _CompiledOrOurs(_Wrapped):
    """Loads mmcv's compiled module, or ours where that was compiled for another torch."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        import torch  # noqa: F401  its libraries are looked for by the compiled module
        try:
            return super().create_module(spec)
        except ImportError as error:
            import logging

            from mmengine.logging import print_log
            print_log(f'{spec.origin} cannot be loaded ({error}): it was compiled for another '
                      "torch, most likely. clasp_mm's operators are used instead; `pip uninstall "
                      'mmcv mmcv-lite`, then `pip install mmcv-lite==2.1.0` ends this warning',
                      'current', logging.WARNING)
            own = _own_spec(_EXTENSION)
            self.loader, spec.origin = own.loader, own.origin
            spec.has_location = True
            return None

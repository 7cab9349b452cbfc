"""An mmcv without its compiled module, as mmcv-lite brings it, whatever is installed."""

import os
from importlib.util import find_spec
from pathlib import Path

from clasp_mm.compat import install_operators
from tests.source_tree import ROOT


def link_lite(root: Path) -> Path:
    """Make ``root/mmcv``, to come before the installed mmcv in a search path."""
    (root / 'mmcv').mkdir(parents=True)
    for path in Path(find_spec('mmcv').origin).parent.iterdir():
        if not path.name.startswith('_ext') and path.name != '__pycache__':
            (root / 'mmcv' / path.name).symlink_to(path)
    return root


def environment(lite: Path | None = None) -> dict[str, str]:
    """Variables of a process on one thread; ``lite``: set up there, and used, as on installing."""
    folders = [str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])]
    if lite is not None:
        install_operators(link_lite(lite))
        folders.insert(0, str(lite))
    return {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': os.pathsep.join(folders)}

"""Which code on which machine: what a run must say to be repeated."""

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size

from clasp_mm.utils.packages import installed_versions
from clasp_mm.version import __version__

_PACKAGES = ('mmengine', 'mmcv', 'mmcv-lite', 'mmpretrain', 'open_clip_torch', 'torchvision',
             'numpy', 'opencv-python', 'opencv-python-headless')
# New files that a run may import or read its config from; others are what commands have written.
_NO_WEIGHTS = ':(top,exclude)zoo'  # published models, with their configs
_CODE = (_NO_WEIGHTS, ':(top)clasp_mm', ':(top)configs', ':(top)tools', ':(top,glob)**/*.py',
         ':(top,exclude,glob)**/site-packages/**')


def git_state(folder: str | os.PathLike = Path(__file__).parent) -> dict[str, Any] | None:
    """State of the code in the checkout that holds ``folder``, by default this package's.

    Returns:
        ``commit``; ``dirty``, whether the code differs from it: a tracked file that was changed, or
        a new one, which git does not ignore, below ``clasp_mm``, ``configs`` or ``tools`` or that
        ends in ``.py``, but for those of ``zoo``; ``changed``, the names of those files;
        ``diff_sha256``, the hash of what differs (changes of tracked files and names of new ones),
        None when nothing does. None outside a checkout.
    """
    def git(*arguments: str) -> bytes:
        return subprocess.run(['git', '-C', str(folder), *arguments], check=True,
                              capture_output=True).stdout

    try:
        commit = git('rev-parse', 'HEAD').decode().strip()
        new = git('ls-files', '--others', '--exclude-standard', '--full-name', '-z', '--', *_CODE)
        names = git('diff', 'HEAD', '--name-only', '-z', '--', ':(top)', _NO_WEIGHTS) + new
        diff = git('diff', 'HEAD', '--', ':(top)', _NO_WEIGHTS) + new if names else b''
    except (OSError, subprocess.CalledProcessError):
        return None
    changed = names.decode('utf-8', 'backslashreplace').split('\0')[:-1]
    return dict(commit=commit, dirty=bool(changed), changed=changed,
                diff_sha256=hashlib.sha256(diff).hexdigest() if changed else None)


def code_digest(rooms: Sequence[str]) -> str:
    """Twelve digits that change with the source of these rooms of the package."""
    root, source = Path(__file__).parents[1], hashlib.sha256()
    for room in rooms:
        for path in sorted((root / room).rglob('*.py')):
            source.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return source.hexdigest()[:12]


def describe_changes(state: Mapping[str, Any]) -> str:
    """The first files of a :func:`git_state` that differ from its commit, in words."""
    names = state.get('changed') or ['files that were not recorded']
    more = f' and {len(names) - 4} more' if len(names) > 4 else ''
    return f'changed since commit {state["commit"][:10]}: {", ".join(names[:4])}{more}'


def environment() -> dict[str, Any]:
    """Versions, machine and command of this process, as plain data."""
    versions = dict(clasp_mm=__version__, python=platform.python_version(),
                    torch=torch.__version__, **installed_versions(_PACKAGES))
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return dict(command=sys.argv, versions=versions, platform=platform.platform(),
                cores=os.cpu_count(), gpus=gpus, cuda=torch.version.cuda if gpus else None,
                processes=get_world_size(), threads=torch.get_num_threads())

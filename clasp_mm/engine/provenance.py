"""Which code on which machine: what a run must say to be repeated."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size

from clasp_mm.version import __version__

_PACKAGES = ('mmengine', 'mmcv', 'mmcv-lite', 'mmpretrain', 'open_clip_torch', 'torchvision',
             'numpy', 'opencv-python', 'opencv-python-headless')


def git_state(folder: str | os.PathLike = Path(__file__).parent) -> dict[str, Any] | None:
    """State of the checkout that holds ``folder``, by default the one this package runs from.

    Returns:
        ``commit``; ``dirty``, whether anything differs from it; ``diff_sha256``, the hash of what
        does (changes of tracked files and names of untracked ones), None when nothing does. None
        outside a checkout.
    """
    def git(*arguments: str) -> bytes:
        return subprocess.run(['git', '-C', str(folder), *arguments], check=True,
                              capture_output=True).stdout

    try:
        commit = git('rev-parse', 'HEAD').decode().strip()
        status = git('status', '--porcelain')
        diff = git('diff', 'HEAD') + status if status else b''
    except (OSError, subprocess.CalledProcessError):
        return None
    return dict(commit=commit, dirty=bool(status),
                diff_sha256=hashlib.sha256(diff).hexdigest() if diff else None)


def environment() -> dict[str, Any]:
    """Versions, machine and command of this process, as plain data."""
    versions = dict(clasp_mm=__version__, python=platform.python_version(),
                    torch=torch.__version__)
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return dict(command=sys.argv, versions=versions, platform=platform.platform(),
                cores=os.cpu_count(), gpus=gpus, cuda=torch.version.cuda if gpus else None,
                processes=get_world_size(), threads=torch.get_num_threads())

"""The names under which configs/quickstart and other commands find what the quickstart made.

What it makes has names that tell one result from another; these point to the latest.
"""

import os
from pathlib import Path

from clasp_mm.utils.files import partial_name, sweep

WORK_DIR = Path('work_dirs/quickstart')
DOWNSTREAM_DIR = Path('work_dirs/quickstart_downstream')
STAGE1, LABELS = 'dino.pth', 'labels'  # in a seed's folder


def seed_dir(work_dir: Path, seed: int) -> Path:
    """Folder of all that depends on a seed."""
    return work_dir / f'seed{seed}'


def published(folder: Path, name: str = 'clasp') -> Path:
    """The backbone that was published of a seed's run."""
    return folder / 'published' / f'{name}_nano.pth'


def point(name: Path, target: Path) -> None:
    """Let a name stand for a file or folder, by a link that stays right where both are moved."""
    sweep(name.parent)
    partial = partial_name(name)
    partial.symlink_to(os.path.relpath(target, name.parent))
    os.replace(partial, name)

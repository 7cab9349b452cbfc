"""Which checkpoint of a run's folder is its last; files' times and absolute paths do not count."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.logging import MMLogger

from clasp_mm.compat import load_file

_RUN = frozenset({'meta', 'state_dict', 'optimizer', 'message_hub'})  # what Runner.resume reads


class _Found(NamedTuple):
    resumable: bool
    epoch: int  # before the iteration: after a change of the batch size its count is another
    iteration: int
    path: Path


def check_resumable(path: str | os.PathLike) -> None:
    """Raise unless a run can be resumed from a file; no code that it may hide is run.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, is no checkpoint of a run or needs code to be run.
    """
    if not _is_resumable(load_file(path, mmap=True)):
        raise ValueError(f'{path} is no checkpoint of a run, which has {", ".join(sorted(_RUN))}; '
                         'to start from its weights, set load_from or model.stage1')


def checkpoint_to_resume(folder: str | os.PathLike) -> Path | None:
    """The readable checkpoint of a run's folder with the highest epoch and iteration, if there
    is one.

    What cannot be read, as a killed run may leave, is passed over and named in a warning; files
    without the optimizer's state, as the best ones that MMEngine keeps, are no candidates.
    """
    found = max((one for one in _checkpoints(folder) if one.resumable), default=None)
    return found and found.path


def last_checkpoint(folder: str | os.PathLike) -> Path | None:
    """The checkpoint that a run wrote last, wherever its folder is now; None where there is none.

    It is the file of the name in MMEngine's ``last_checkpoint``, whose path is of the folder's
    first place; without it, the one with the highest iteration.
    """
    folder = Path(folder)
    note = folder / 'last_checkpoint'
    if note.is_file():
        named = folder / Path(note.read_text('utf-8').strip()).name
        if named.is_file():
            return named
    found = max(_checkpoints(folder), default=None)
    return found and found.path


def _checkpoints(folder: str | os.PathLike) -> Iterator[_Found]:
    for path in sorted(Path(folder).glob('*.pth')):
        try:
            content = load_file(path, mmap=True)
        except ValueError as error:
            MMLogger.get_current_instance().warning(f'passed over: {error}')
            continue
        meta = content.get('meta') if isinstance(content, Mapping) else None
        if isinstance(meta, Mapping) and 'state_dict' in content:
            epoch, iteration = (int(meta.get(key, 0)) for key in ('epoch', 'iter'))
            yield _Found(_is_resumable(content), epoch, iteration, path)


def _is_resumable(content: Any) -> bool:
    return isinstance(content, Mapping) and _RUN.issubset(content)

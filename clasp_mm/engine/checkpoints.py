"""Which checkpoint of a run's folder is its last; files' times and absolute paths do not count."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger

from clasp_mm.compat import check_records, load_file
from clasp_mm.models.weights.trained_with import meta_of

_RUN = frozenset({'meta', 'state_dict', 'optimizer', 'message_hub'})  # what Runner.resume reads


def check_resumable(path: str | os.PathLike) -> None:
    """Raise unless a run can be resumed from a file; no code that it may hide is run.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, is no checkpoint of a run or needs code to be run.
    """
    resumable = _is_resumable(load_file(path, mmap=True))
    check_records(path)
    if not resumable:
        raise ValueError(f'{path} is no checkpoint of a run, which has {", ".join(sorted(_RUN))}; '
                         'to start from its weights, set load_from or model.stage1')


def checkpoint_to_resume(folder: str | os.PathLike) -> Path | None:
    """The readable checkpoint of a run's folder with the highest epoch and iteration, if there
    is one.

    What cannot be read, as a killed run may leave, is passed over and named in a warning; files
    without the optimizer's state, as the best ones that MMEngine keeps, are no candidates.
    """
    return _last_whole(folder, resumable=True)


def last_checkpoint(folder: str | os.PathLike) -> Path | None:
    """The checkpoint that a run wrote last, wherever its folder is now; None where there is none.

    It is the whole one with the highest epoch and iteration. MMEngine's ``last_checkpoint`` does
    not count: a run that was killed while it saved names the one before.
    """
    return _last_whole(folder, resumable=False)


def _last_whole(folder: str | os.PathLike, resumable: bool) -> Path | None:
    found = []
    for path in sorted(Path(folder).glob('*.pth')):
        try:
            content = load_file(path, mmap=True)
        except ValueError as error:
            MMLogger.get_current_instance().warning(f'passed over: {error}')
            continue
        complete = _is_resumable(content)
        if complete or (
                not resumable and isinstance(content, Mapping) and 'state_dict' in content):
            meta = meta_of(content)
            # The epoch first: after a change of the batch size iterations have another count.
            found.append((int(meta.get('epoch', 0)), int(meta.get('iter', 0)), complete, path))
    for *_, path in sorted(found, reverse=True):
        try:
            check_records(path)
        except ValueError as error:
            MMLogger.get_current_instance().warning(f'passed over: {error}')
        else:
            return path
    return None


def _is_resumable(content: Any) -> bool:
    return isinstance(content, Mapping) and _RUN.issubset(content)

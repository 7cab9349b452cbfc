"""Checkpoints of torch, mmengine and safetensors, read without running what a file may hide."""

import codecs
import hashlib
import json
import pickle
import re
import zipfile
from argparse import Namespace
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from .private_torch import unpickled_names
from .quirks import torch_at_least

# Entry in the header of a published .safetensors: the `meta` of the .pth beside it, as JSON.
SAFETENSORS_META = 'clasp_mm'
# ... and what of that says which bytes the file has, see safetensors_sum.
SAFETENSORS_SUM = 'sha256'
_HISTORY_STATISTICS = ('min', 'max', 'mean', 'current')


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read the checkpoints mmengine's Runner writes.

    Since torch 2.6 that mode is the default, and mmengine 0.10.7 cannot resume from its own files:
    their message hub holds ``HistoryBuffer`` objects and numpy arrays. This adds exactly those to
    torch's allow-list for the running process (``getattr``, which the files also name, is replaced
    by a lookup of the four statistics). Older torch versions load such files without it.
    """
    if torch_at_least(2, 6):
        torch.serialization.add_safe_globals([(value, name)
                                              for name, value in _mmengine_globals().items()])


def _mmengine_globals() -> dict[str, Any]:
    """What mmengine's checkpoints name beside tensors, and what each name may stand for."""
    from mmengine.logging import HistoryBuffer
    reconstruct, scalar = (value.__reduce__()[0] for value in (np.array(0), np.float64(0)))
    dtypes = {type(np.dtype(kind)) for kind in '?bhilqBHILQefdSU'}
    names = {f'{value.__module__}.{value.__qualname__}': value
             for value in (HistoryBuffer, np.ndarray, np.dtype, *dtypes)}
    for module in ('builtins', '__builtin__'):  # by the pickle protocol
        names[f'{module}.getattr'] = _history_statistic
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):  # numpy 1.x and 2.x
        names |= {f'{module}._reconstruct': reconstruct, f'{module}.scalar': scalar}
    return names


def _history_statistic(owner: type, name: str) -> Callable:
    """Stand in for ``getattr`` in mmengine's checkpoints, where it only names a statistic."""
    from mmengine.logging import HistoryBuffer
    if owner is not HistoryBuffer or name not in _HISTORY_STATISTICS:
        raise ValueError(
            f'a checkpoint asks for the attribute {name!r} of {owner!r}; only the statistics '
            f'{_HISTORY_STATISTICS} of HistoryBuffer are read from a checkpoint')
    return getattr(HistoryBuffer, name)


def load_file(path: str | Path, mmap: bool = False) -> Any:
    """Read a checkpoint onto the CPU without running code that it may hide.

    Reads torch's formats, mmengine's and DINO's training checkpoints, and ``.safetensors`` files,
    those that clasp publish wrote as the ``.pth`` beside them.

    Every byte is held against the checksums that torch's format has and that published
    ``.safetensors`` files state, whatever the file is called.

    Args:
        path: A local file.
        mmap: Leave the tensors of torch's format on the disk until they are used, unchecked (see
            :func:`check_records`).

    Returns:
        What the file holds.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint, is damaged, or needs code to be run.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no checkpoint file at {path} (relative to {Path.cwd()}): check '
                                'the path, or fetch the file and put it there')
    if path.suffix == '.safetensors':
        from safetensors import safe_open
        try:
            with safe_open(path, 'pt') as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}
                own = (file.metadata() or {}).get(SAFETENSORS_META)
            if own is None:
                return tensors
            meta = json.loads(own, object_hook=_whole_keys)
            stated = meta.pop(SAFETENSORS_SUM, None)
            if stated not in (None, safetensors_sum(path.read_bytes(), stated)):
                raise ValueError('its bytes are not those that its header states the hash of')
            return dict(state_dict=tensors, meta=meta)
        except Exception as error:  # its own type, and torch's for sizes and dtypes that cannot be
            raise ValueError(f'{path} is damaged, cut short or no safetensors file ({error}): '
                             'fetch it again') from error
    with path.open('rb') as file:
        start = file.read(64)
    if start.startswith(b'version https://git-lfs'):
        raise ValueError(f'{path} is a Git LFS pointer, not the checkpoint: run `git lfs pull`')
    if not start.startswith((b'PK', b'\x80')):
        raise ValueError(f'{path} is no PyTorch checkpoint: it starts with {start[:8]!r}')
    if not mmap:
        check_records(path)
    mmap = mmap and start.startswith(b'PK')  # not in the format before torch 1.6
    try:
        if not torch_at_least(2, 6):
            return _load_with_own_list(path, mmap)
        allow_mmengine_checkpoints()
        # DINO's, SOLIDER's and Swin's checkpoints carry their arguments
        with torch.serialization.safe_globals([Namespace]):
            return torch.load(path, map_location='cpu', weights_only=True, mmap=mmap)
    except Exception as error:  # torch raises half a dozen types for damaged files
        code = re.search(r'(?:GLOBAL|[Cc]lass|function) ([\w.]+\.[\w.]+)', str(error))
        if isinstance(error, pickle.UnpicklingError) and code:
            raise ValueError(
                f'{path} holds more than weights: reading it would run {code[1]}. If you trust '
                'its origin, save its weights alone with torch.save(state_dict, path)') from error
        raise ValueError(f'{path} is damaged, cut short or no PyTorch checkpoint '
                         f'({type(error).__name__}): fetch it again') from error


def check_records(path: str | Path) -> None:
    """Hold the parts of a file of torch's zip format against their CRC-32, which torch leaves out.

    Raises:
        ValueError: A part has other bytes than were written.
    """
    with open(path, 'rb') as file:
        if file.read(2) != b'PK':  # the format before torch 1.6
            return
    try:
        with zipfile.ZipFile(path) as archive:
            for part in archive.infolist():
                if part.CRC:  # 0: they were switched off
                    with archive.open(part) as record:
                        while record.read(1 << 20):
                            pass
    except Exception as error:  # a damaged directory of the archive leads to any of zipfile's
        raise ValueError(f'{path} is damaged, cut short or no PyTorch checkpoint ({error}): fetch '
                         'it again') from error


def safetensors_sum(data: bytes, stated: str = '0' * 64) -> str:
    """SHA-256 of a ``.safetensors`` file, the place of this sum in its header read as zeros."""
    length = 8 + int.from_bytes(data[:8], 'little')
    header = data[:length].replace(str(stated).encode(), b'0' * 64, 1)
    digest = hashlib.sha256(header)
    digest.update(memoryview(data)[length:])
    return digest.hexdigest()


def _whole_keys(value: dict) -> dict:
    """JSON makes text of the whole numbers that name classes and keypoints."""
    if value and all(key.isdecimal() for key in value):
        return {int(key): one for key, one in value.items()}
    return value


def _load_with_own_list(path: Path, mmap: bool = False) -> Any:
    """Read as under ``weights_only``, where torch's list of allowed names cannot be extended.

    Before torch 2.6 that mode refuses every object mmengine writes. Here torch's own list and ours
    are the only names a file can reach; nothing else is looked up, so nothing else can run.
    """
    allowed = {**unpickled_names(), **_mmengine_globals(), 'argparse.Namespace': Namespace,
               # bytes, and MultiStepLR's milestones: on the list of later versions of torch
               '_codecs.encode': codecs.encode, 'collections.Counter': Counter}

    class Unpickler(pickle.Unpickler):

        def find_class(self, module: str, name: str) -> Any:
            full_name = f'{module}.{name}'
            if full_name not in allowed:
                raise pickle.UnpicklingError(f'Unsupported class {full_name}')
            return allowed[full_name]

    reader = SimpleNamespace(
        __name__='pickle', Unpickler=Unpickler,
        load=lambda file, **kwargs: Unpickler(file, **kwargs).load())
    return torch.load(path, map_location='cpu', pickle_module=reader, weights_only=False,
                      mmap=mmap)

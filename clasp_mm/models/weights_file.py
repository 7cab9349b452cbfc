"""Where a file of weights is: a path, an address, or the name of a published model."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

import torch

from clasp_mm.files import file_hash

ZOO_VARIABLE = 'CLASP_ZOO'
_HASHED = re.compile(r'-([0-9a-f]{8})\.pth$')
_SUFFIXES = ('.pth', '.pt', '.bin', '.ckpt', '.safetensors')


def find_weights(source: str | os.PathLike) -> Path:
    """Local path of a file of weights.

    Args:
        source: A path; an address, whose file is kept in torch's hub directory; or the name of a
            published model, with or without date and hash, in the folders of the environment
            variable ``CLASP_ZOO``.

    Raises:
        FileNotFoundError: If there is no such file, address or name; near names are offered.
        ValueError: If the file's bytes do not have the hash in its name.
    """
    address, path = str(source), Path(source)
    if address.startswith(('http://', 'https://')):
        path = _download(address)
    elif not path.is_file():
        if path.suffix in _SUFFIXES or path.name != address:
            raise FileNotFoundError(f'no checkpoint file at {path} (relative to {Path.cwd()}): '
                                    'check the path, or fetch the file and put it there')
        path = _published(address)
    verify_hash(path)
    return path


def verify_hash(path: Path) -> None:
    """Compare a published file with the hash in its name, if it has one.

    Raises:
        ValueError: If they differ: the file was changed or is not complete.
    """
    stated = _HASHED.search(path.name)
    if stated and (found := file_hash(path)) != stated[1]:
        raise ValueError(f'{path} has hash {found}, its name says {stated[1]}: the file was '
                         'changed or only partly copied; fetch it again')


def _published(name: str) -> Path:
    folders = [Path(f) for f in os.environ.get(ZOO_VARIABLE, '').split(os.pathsep) if f]
    files = sorted(file for folder in folders for file in folder.glob('*.pth'))
    names = {re.sub(r'_\d{8}-[0-9a-f]{8}$', '', file.stem): file for file in files}
    names.update({file.stem: file for file in files})
    if name in names:
        return names[name]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.3)
    where = f'the folders of {ZOO_VARIABLE} ({os.environ.get(ZOO_VARIABLE) or "not set"})'
    raise FileNotFoundError(f'no published model {name!r} in {where}'
                            + (f'; near: {", ".join(near)}' if near else
                               '; give the path of a .pth file, or set the variable'))


def _download(address: str) -> Path:
    path = Path(torch.hub.get_dir()) / 'checkpoints' / address.rsplit('/', 1)[-1]
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(address, str(path))
        except OSError as error:
            raise FileNotFoundError(
                f'cannot download {address} ({error}): fetch it on a connected machine and put it '
                f'at {path}, or name the local file instead') from error
    return path

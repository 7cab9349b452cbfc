"""Where a file of weights is: a path, an address, a repository, or a published model's name."""

import hashlib
import os
import re
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from clasp_mm.utils.files import file_hash, read_json, read_yaml
from clasp_mm.utils.names import near_names
from clasp_mm.utils.resources import shipped_file

from .download import HASHED_NAME, download
from .hub import SCHEME, fetch_from_hub

ZOO_VARIABLE = 'CLASP_ZOO'
METAFILE = 'metafile.yml'
FILE_NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9._-]*')
_ADDRESS = re.compile(r"https?://[\w!#$%&'*+,./:;=?@~-]+", re.ASCII)
_SUFFIXES = ('.pth', '.pt', '.bin', '.ckpt', '.safetensors')


def find_weights(source: str | os.PathLike) -> Path:
    """Local path of a file of weights.

    The environment variable ``CLASP_ZOO`` names folders, separated as in ``PATH``, or the address
    of one folder; what is no folder is left out with a warning. Files of an address are kept in
    torch's hub directory, those without a hash in their name in a folder of their address. After
    it the models that came along are looked at: ``zoo/`` of the clone, or what of it is in the
    installed package.

    Args:
        source: A path; an address; a repository of the Hugging Face hub
            (:func:`~clasp_mm.models.weights.hub.fetch_from_hub`); or, in ``CLASP_ZOO`` or
            ``zoo/``, the name of a published model, with or without date and hash, or of its file.

    Raises:
        FileNotFoundError: If there is no such file, address, repository or name; near names are
            offered.
        ValueError: If the file's bytes do not have the hash in its name, or an address ends in no
            plain name.
    """
    name, path = str(source), Path(source)
    if _is_address(name):
        path = _downloaded(name)
    elif name.startswith(SCHEME):
        path = fetch_from_hub(name)
    elif not path.is_file():
        of_zoo = path.name == name and (HASHED_NAME.search(name) or path.suffix not in _SUFFIXES)
        if not of_zoo:
            raise FileNotFoundError(f'no checkpoint file at {path} (relative to {Path.cwd()}): '
                                    'check the path, or fetch the file and put it there')
        path = _published(name)
    verify_hash(path)
    return path


def verify_hash(path: Path) -> None:
    """Compare a published file with the hash in its name or, renamed, in the side-car beside it.

    Raises:
        ValueError: If they differ: the file was changed or is not complete.
    """
    stated = HASHED_NAME.search(path.name)
    sha = stated[1] if stated else _side_car_hash(path)
    if sha is not None and (found := file_hash(path)) != sha:
        where = 'its name' if stated else path.with_suffix('.json').name
        date = '; or, if that is a date and no hash, rename the file' if sha.isdecimal() else ''
        raise ValueError(f'{path} has hash {found}, {where} says {sha}: the file was '
                         f'changed or only partly copied; fetch it again{date}')


def _side_car_hash(path: Path) -> str | None:
    """What a file's side-car says of it, where that is one: it was renamed with the file."""
    side_car = path.with_suffix('.json')
    if not side_car.is_file():
        return None
    try:
        files = read_json(side_car)['files']
    except (ValueError, TypeError, KeyError):  # another JSON of the same name
        return None
    names = [HASHED_NAME.search(str(name)) for name in files] if isinstance(files, list) else []
    return next((name[1] for name in names if name and name[0].endswith(path.suffix)), None)


def file_name(weights: str) -> str:
    """The name of a file that is given by that, or by its address, whose query never counts.

    Raises:
        ValueError: It has other characters than letters, digits, ``.``, ``_`` and ``-``, as a path
            has; or the address is none of http or https.
    """
    address = _ADDRESS.fullmatch(weights)
    name = urlsplit(weights).path.rpartition('/')[2] if address else weights
    if not FILE_NAME.fullmatch(name):
        raise ValueError(f'{weights!r:.200} is no plain name of a file (letters, digits, ".", "_", '
                         '"-") and no http or https address of one')
    return name


def metafile_models(metafile: Path) -> list[dict[str, Any]]:
    """The models of a metafile, each a dict.

    Raises:
        ValueError: It is no metafile.
    """
    content = read_yaml(metafile)
    models = content.get('Models') if isinstance(content, dict) else None
    if not isinstance(models, list) or not all(isinstance(entry, dict) for entry in models):
        raise ValueError(f'{metafile} is no metafile: it needs a list of models under `Models`')
    return models


def zoo_metafiles() -> list[Path]:
    """The metafiles of what came along and of the zoo's folders, or its address; the later win.

    That of an address is fetched anew; offline, the one fetched last is taken, with a warning.
    """
    folders, base = _zoo()
    found = [folder / METAFILE for folder in folders if (folder / METAFILE).is_file()]
    if base is None:
        return found
    kept = _folder(base) / METAFILE
    try:
        download(f'{base}/{METAFILE}', kept, anew=True)
    except FileNotFoundError as error:
        warnings.warn(f'{ZOO_VARIABLE}: {error}', stacklevel=2)
    return [*found, kept] if kept.is_file() else found


def fetch_beside(metafile: Path, name: str) -> None:
    """Fetch a file that lies beside the metafile of the zoo's address, unless it is there.

    Raises:
        FileNotFoundError: It cannot be fetched.
    """
    if is_fetched(metafile) and not (metafile.parent / name).is_file():
        download(f'{_zoo()[1]}/{name}', metafile.parent / name)


def is_fetched(metafile: Path) -> bool:
    """Whether a metafile is that of the address in ``CLASP_ZOO``."""
    base = _zoo()[1]
    return base is not None and metafile.parent == _folder(base)


def _zoo() -> tuple[list[Path], str | None]:
    """Folders, the one that came along first, and the address of one."""
    try:
        folders = [shipped_file(f'zoo/{METAFILE}').parent]
    except FileNotFoundError:
        folders = []
    value = os.environ.get(ZOO_VARIABLE, '')
    if _is_address(value):
        return folders, value.rstrip('/')
    for named in filter(None, value.split(os.pathsep)):
        folder = Path(os.path.expanduser(named))
        if folder.is_dir():
            folders.append(folder)
        else:
            warnings.warn(f'{ZOO_VARIABLE} names {named!r}, which is no folder here, so it is left '
                          f'out: correct the path, or unset {ZOO_VARIABLE}')
    return folders, None


def published_models() -> dict[str, Path | str]:
    """Path or address by each name that a published model has: by title, by file, without date."""
    folders, base = _zoo()
    names: dict[str, Path | str] = {}
    for folder in folders:
        names |= _names({file.name: file for file in sorted(folder.iterdir())
                         if file.suffix in ('.pth', '.safetensors')}, _titles(folder / METAFILE))
    if base is not None:
        for metafile in filter(is_fetched, zoo_metafiles()):
            titles = {title: weights if _is_address(weights) else f'{base}/{weights}'
                      for title, weights in _titles(metafile).items()}
            names |= _names({file_name(weights): weights for weights in titles.values()}, titles)
    return names


def _titles(metafile: Path) -> dict[str, str]:
    """Weights by the names of a metafile's models, where there is one."""
    models = metafile_models(metafile) if metafile.is_file() else []
    return {str(model.get('Name')): str(model['Weights']) for model in models
            if model.get('Weights')}


def _names(files: dict[str, Path | str], titles: dict[str, str]) -> dict[str, Path | str]:
    """Of the files of one name, ``.pth`` and the later date win."""
    order = sorted(files, key=lambda file: (Path(file).suffix == '.pth', file))
    names = {re.sub(r'_\d{8}-[0-9a-f]{8}$', '', Path(file).stem): files[file] for file in order}
    names |= {title: files[file] for title, weights in titles.items()
              if (file := file_name(weights)) in files}
    return names | {Path(file).stem: found for file, found in files.items()} | files


def _published(name: str) -> Path:
    folders, base = _zoo()
    if base is not None and HASHED_NAME.search(name):
        here = [path for folder in folders if (path := folder / name).is_file()]
        return here[0] if here else _downloaded(f'{base}/{file_name(name)}')
    names = published_models()
    if name in names:
        found = names[name]
        return found if isinstance(found, Path) else _downloaded(found)
    where = f'{ZOO_VARIABLE} ({os.environ.get(ZOO_VARIABLE) or "not set"}) or zoo/'
    raise FileNotFoundError(f'no published model {name!r} in {where}'
                            + near_names(name, names, '; give the path of a .pth file, or set '
                                         'the variable to the folder or address where it is'))


def _is_address(text: str) -> bool:
    return text.startswith(('http://', 'https://'))


def _downloaded(address: str) -> Path:
    name = file_name(address)
    # A hash tells what is in a file; without one, files of one name may be of several addresses.
    path = (_hub() if HASHED_NAME.search(name) else _folder(address)) / name
    download(address, path)
    return path


def _folder(address: str) -> Path:
    """Where the files of an address are kept whose names say nothing of their content."""
    return _hub() / f'address-{hashlib.sha256(address.encode()).hexdigest()[:16]}'


def _hub() -> Path:
    return Path(torch.hub.get_dir()) / 'checkpoints'

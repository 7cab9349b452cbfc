"""Where configs and tools lie: beside the package in a checkout, inside it in a wheel."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_file(relative: str) -> Path:
    """Path of a shipped config or tool, as ``configs/quickstart/...`` or ``tools/train.py``.

    Raises:
        FileNotFoundError: If neither the checkout nor the installed package holds it.
    """
    places = (_PACKAGE / '.mim' / relative, _PACKAGE.parent / relative)
    for place in places:
        if place.exists():
            return place
    raise FileNotFoundError(f'{relative} is neither at {places[0]} nor at {places[1]}: the '
                            'installation is not complete, run pip install again')


def config_file(path: str | os.PathLike) -> Path:
    """A config that a user names: ``configs/...`` is also found outside a clone."""
    path = Path(path)
    if not path.exists() and path.parts[:1] == ('configs',):
        shipped = shipped_file('configs').parent / path
        return shipped if shipped.exists() else path
    return path

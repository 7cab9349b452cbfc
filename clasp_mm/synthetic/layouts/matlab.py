"""MATLAB files whose bytes depend on nothing but their content."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.io import loadmat, savemat

from clasp_mm.utils.files import replacing

_HEADER = b'MATLAB 5.0 MAT-file'.ljust(116)  # SciPy's own holds the date


def cells(values: Sequence) -> np.ndarray:
    """A MATLAB cell array (N, 1)."""
    array = np.empty((len(values), 1), object)
    for at, value in enumerate(values):
        array[at, 0] = value
    return array


def struct(rows: Sequence[tuple], names: tuple[str, ...]) -> np.ndarray:
    """A MATLAB struct array (1, N)."""
    records = np.empty((1, len(rows)), [(name, object) for name in names])
    for at, row in enumerate(rows):
        records[0, at] = row
    return records


def read(path: Path) -> dict[str, np.ndarray]:
    """The variables of a file, none where there is no such file."""
    content = loadmat(path) if path.exists() else {}
    return {name: value for name, value in content.items() if not name.startswith('__')}


def write(path: Path, content: Mapping[str, np.ndarray]) -> None:
    """Write variables, whole or not at all."""
    buffer = io.BytesIO()
    savemat(buffer, dict(sorted(content.items())), do_compression=True)
    with replacing(path) as partial_file:
        partial_file.write_bytes(_HEADER + buffer.getvalue()[len(_HEADER):])

"""MATLAB files."""

from pathlib import Path
from typing import Any

_HDF5 = b'\x89HDF\r\n\x1a\n'


def load_mat(path: Path, **options: Any) -> dict[str, Any]:
    """The variables of a file, as SciPy's ``loadmat`` reads them with these options.

    Raises:
        ValueError: It is none that can be read, or it was saved in version 7.3, which is HDF5.
    """
    from scipy.io import loadmat
    try:
        return loadmat(path, **options)
    except Exception as error:  # SciPy raises whatever the bytes lead to
        with open(path, 'rb') as file:
            hdf5 = _HDF5 in file.read(1024)  # behind MATLAB's text of 512 bytes
        if hdf5:
            raise ValueError(f'{path} was saved as MATLAB 7.3 (HDF5), which is not how this data '
                             "set is given out: save it again by save(..., '-v7')") from error
        raise ValueError(f'{path} is no MATLAB file that can be read ({error}): fetch it '
                         'again') from error

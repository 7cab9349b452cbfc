"""Read plain data and numpy arrays from a pickle without running anything that it asks for."""

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

_KINDS = frozenset('biufU')  # of arrays: flags, numbers and text
_LONGEST = 1 << 24  # of ranges, which cost a file nothing


class UnsafePickleError(ValueError):
    """A pickle asks for a class or function that is no part of plain data."""


def load_plain_pickle(path: str | os.PathLike) -> Any:
    """Read a pickle of dicts (``EasyDict`` too), lists, tuples, ranges, text, numbers, arrays.

    ``pickle.load`` imports and calls whatever a file names. Here a name is never imported: a fixed
    list of names, those that numpy and EasyDict leave in a file, stands for classes of this module
    that keep data and do nothing else. Any other name is an error.

    Raises:
        FileNotFoundError: There is no such file.
        UnsafePickleError: It asks for something that is not on the list.
        ValueError: It is no pickle, is damaged, or holds an array of objects.
    """
    data = Path(path).read_bytes()
    try:
        return _plain(_PlainUnpickler(io.BytesIO(data)).load())
    except UnsafePickleError as error:
        raise UnsafePickleError(f'{path} {error}') from error
    except Exception as error:  # the unpickler raises almost any type on damaged bytes
        raise ValueError(f'{path} is no pickle of plain data: {type(error).__name__} {error}') \
            from error


class _Kept:
    """What stands for a name of the list; a pickle can neither run nor alter it."""

    def __setstate__(self, state: Any) -> None:
        raise ValueError(f'unexpected state of {type(self).__name__}')


class _Dict(dict):
    """EasyDict, whose attributes repeat its items."""

    def __setstate__(self, state: Any) -> None:
        pass


class _DType(_Kept):

    def __init__(self, kind: str, *_: Any) -> None:
        self.dtype = np.dtype(str(kind))
        if self.dtype.kind not in _KINDS:
            raise ValueError(f'an array of type {self.dtype} holds neither flags, numbers nor text')

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(_Kept):

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        self.value = _array(data, dtype, shape, 'F' if fortran else 'C')


class _Reconstruct(_Kept):
    """``numpy.core.multiarray._reconstruct``: an array whose state follows."""

    def __new__(cls, *_: Any) -> _Array:
        return _Array()


class _FromBuffer(_Kept):
    """``numpy.core.numeric._frombuffer``, of protocol 5."""

    def __new__(cls, data: Any, dtype: _DType, shape: tuple, order: str) -> _Array:
        array = _Array()
        array.value = _array(data, dtype, shape, order)
        return array


class _Scalar(_Kept):
    """``numpy.core.multiarray.scalar``."""

    def __new__(cls, dtype: _DType, data: Any) -> Any:
        return _array(data, dtype, (), 'C').item()


class _Range(_Kept):
    """``range``, and Python 2's ``xrange``."""

    def __new__(cls, *ends: int) -> range:
        span = range(*ends)
        if len(span) > _LONGEST:
            raise ValueError(f'a range of {len(span)} numbers')
        return span


class _NoBytes(_Kept):
    """``bytes``, by which Python 3 keeps empty bytes in protocols that have none."""

    def __new__(cls) -> bytes:
        return b''


class _Encode(_Kept):
    """``_codecs.encode``, the same of other bytes."""

    def __new__(cls, text: str, codec: str) -> bytes:
        if codec != 'latin1':
            raise ValueError(f'bytes encoded as {codec!r}')
        return text.encode('latin1')


def _array(data: Any, dtype: _DType, shape: tuple, order: str) -> np.ndarray:
    data = data.encode('latin1') if isinstance(data, str) else data  # of Python 2
    return np.frombuffer(data, dtype.dtype).reshape(shape, order=order)


_STANDS_FOR = {
    ('easydict', 'EasyDict'): _Dict,
    ('numpy', 'ndarray'): _Array,
    ('numpy', 'dtype'): _DType,
    ('_codecs', 'encode'): _Encode,
    ('__builtin__', 'bytes'): _NoBytes,
    ('builtins', 'range'): _Range,
    ('__builtin__', 'xrange'): _Range,
    **{(f'numpy.{core}.multiarray', '_reconstruct'): _Reconstruct for core in ('core', '_core')},
    **{(f'numpy.{core}.multiarray', 'scalar'): _Scalar for core in ('core', '_core')},
    **{(f'numpy.{core}.numeric', '_frombuffer'): _FromBuffer for core in ('core', '_core')},
}


class _PlainUnpickler(pickle.Unpickler):

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding='latin1')  # numpy arrays of Python 2

    def find_class(self, module: str, name: str) -> type:
        try:
            return _STANDS_FOR[module, name]
        except KeyError:
            raise UnsafePickleError(
                f'asks for {module}.{name}, which no list of images and labels needs: it was '
                'not loaded and nothing in it was run. Do not load it by other means unless you '
                'trust where it is from') from None

    def persistent_load(self, pid: Any) -> Any:
        raise UnsafePickleError(f'refers to something outside the file ({pid!r})')


def _plain(value: Any) -> Any:
    """The data with arrays in place of what stood for them."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    if isinstance(value, (_Kept, type)):
        raise ValueError('a class or type among the data')
    return value

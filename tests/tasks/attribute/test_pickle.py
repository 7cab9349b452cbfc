"""Pickles are read as data: nothing that one asks for is imported or called."""

import pickle
import subprocess
import sys
import types

import numpy as np
import pytest

from clasp_mm.datasets.attribute_pickle import UnsafePickleError, load_plain_pickle

from .pickles import easydict, write_rethink


class Runs:
    """Unpickled, it calls what it is given."""

    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


def test_plain_pickle_load_would_run_it(tmp_path):
    """The danger is real: what follows would mean nothing otherwise."""
    target = tmp_path / 'ran'
    pickle.loads(pickle.dumps(Runs(open, str(target), 'w')))
    assert target.exists()


@pytest.mark.parametrize('protocol', range(6))
@pytest.mark.parametrize('hidden', ['alone', 'in a list', 'in a dict', 'as a key'])
def test_code_does_not_run(tmp_path, protocol, hidden):
    target, path = tmp_path / 'ran', tmp_path / 'dataset_zs_run0.pkl'
    evil = Runs(open, str(target), 'w')
    content = {'alone': evil, 'in a list': [1, [evil]], 'in a dict': dict(label=evil),
               'as a key': {(evil, ): 1}}[hidden]
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(UnsafePickleError, match=r'dataset_zs_run0.pkl asks for \w*io\w*\.open'):
        load_plain_pickle(path)
    assert not target.exists()


@pytest.mark.parametrize('call, args', [
    (eval, ('1', )), (getattr, (1, 'real')), (subprocess.call, ('true', )),
    (types.SimpleNamespace, ()), (np.load, ('a.npy', )), (bytearray, (9, ))],
    ids=lambda value: getattr(value, '__name__', ''))
def test_other_callables_are_refused(tmp_path, call, args):
    path = tmp_path / 'a.pkl'
    path.write_bytes(pickle.dumps(Runs(call, *args)))
    with pytest.raises(UnsafePickleError, match='nothing in it was run'):
        load_plain_pickle(path)


def test_a_range_costs_nothing(tmp_path):
    path = tmp_path / 'a.pkl'
    path.write_bytes(pickle.dumps(range(2, 9, 3)))
    assert load_plain_pickle(path) == range(2, 9, 3)
    path.write_bytes(pickle.dumps(range(10**15)))
    with pytest.raises(ValueError, match='a range of 1000000000000000 numbers'):
        load_plain_pickle(path)


def test_names_reached_through_a_listed_one_are_refused(tmp_path):
    """Protocol 4 can ask for ``ndarray.tofile``."""
    path = tmp_path / 'a.pkl'
    path.write_bytes(b'\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.')
    with pytest.raises(UnsafePickleError, match=r'numpy.ndarray.tofile'):
        load_plain_pickle(path)


def test_nothing_is_imported(tmp_path):
    """Importing runs a module's code."""
    module = tmp_path / 'bad_module.py'
    module.write_text('raise SystemExit("ran")\n')
    path = tmp_path / 'a.pkl'
    path.write_bytes(b'cbad_module\nName\n.')
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(UnsafePickleError, match=r'bad_module\.Name'):
            load_plain_pickle(path)
    finally:
        sys.path.remove(str(tmp_path))
    assert 'bad_module' not in sys.modules


@pytest.mark.parametrize('body', [
    # BUILD on a class, with a function of its own as the new one
    b'\x80\x02cnumpy\nndarray\n}(X\x0c\x00\x00\x00__setstate__cnumpy\ndtype\nub.',
    # BUILD on a kept array with attributes instead of an array's state
    b'\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R}X\x01\x00\x00\x00aK\x01sb.',
    b'\x80\x02cnumpy\ndtype\n(X\x01\x00\x00\x00Ot\x81.',
    b'\x80\x02cnumpy\ndtype\nX\x01\x00\x00\x00O\x85R.',       # objects
    b'\x80\x02cnumpy\nndarray\n.',                            # a class itself
    b'\x80\x02K\x01', b'', b'no pickle'])
def test_odd_bytes_are_an_error(tmp_path, body):
    path = tmp_path / 'a.pkl'
    path.write_bytes(body)
    with pytest.raises(ValueError, match='no pickle of plain data'):
        load_plain_pickle(path)
    again = tmp_path / 'b.pkl'  # and the next one is read as ever
    again.write_bytes(pickle.dumps(np.arange(3)))
    assert load_plain_pickle(again).tolist() == [0, 1, 2]


@pytest.mark.parametrize('protocol', range(2, 6))
@pytest.mark.parametrize('value', [
    np.arange(12).reshape(3, 4), np.asfortranarray(np.arange(12.).reshape(3, 4)),
    np.arange(6, dtype='>i4'), np.zeros((0, 3), np.float32), np.array([True, False]),
    np.float32(.25), np.int64(-3), 'text', b'bytes', [1, (2, {3: None})], True],
    ids=repr)
def test_data_comes_back(tmp_path, protocol, value):
    path = tmp_path / 'a.pkl'
    path.write_bytes(pickle.dumps(dict(value=value, twice=[value, value]), protocol=protocol))
    found = load_plain_pickle(path)
    for item in (found['value'], *found['twice']):
        np.testing.assert_equal(item, value)
        assert getattr(item, 'dtype', None) == getattr(value, 'dtype', None) or np.isscalar(value)


@pytest.mark.parametrize('protocol', range(2, 6))
def test_rethinkpars_pickle_comes_back(tmp_path, protocol):
    path = tmp_path / 'dataset_zs_run0.pkl'
    labels = write_rethink(path, protocol)
    with easydict():
        expected = pickle.loads(path.read_bytes())
    found = load_plain_pickle(path)
    np.testing.assert_equal(found, dict(expected))
    assert type(found['partition']) is dict and found['label'].tolist() == labels.tolist()


def test_arrays_under_the_other_numpys_names(tmp_path):
    """numpy 2 renamed numpy.core to numpy._core."""
    path = tmp_path / 'a.pkl'
    data = pickle.dumps(np.arange(5), protocol=2)
    for old, new in ((b'numpy.core.', b'numpy._core.'), (b'numpy._core.', b'numpy.core.')):
        if old in data:
            path.write_bytes(data.replace(old, new))
    assert load_plain_pickle(path).tolist() == [0, 1, 2, 3, 4]

import importlib
import pkgutil
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from clasp_mm.compat.operators import OPERATORS, raising


class Extension(SimpleNamespace):
    """A module of some functions; any other raises."""

    def __getattr__(self, name):
        return raising(name)


@contextmanager
def called_by_mmcv(functions):
    """mmcv.ops calls ``functions`` in place of its compiled module."""
    ops = importlib.import_module('mmcv.ops')
    modules = [importlib.import_module(f'mmcv.ops.{found.name}')
               for found in pkgutil.iter_modules(ops.__path__) if found.name != 'csrc']
    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            if hasattr(module, 'ext_module'):
                patch.setattr(module, 'ext_module', Extension(**functions))
        yield


@pytest.fixture
def ours():
    """mmcv.ops calls our operators, whatever is installed."""
    pytest.importorskip('mmcv')
    with called_by_mmcv(OPERATORS):
        yield


@pytest.fixture
def by_both():
    """Results of a function that calls mmcv.ops: with the compiled operators, and with ours."""
    extension = pytest.importorskip('mmcv._ext')
    if getattr(extension, 'clasp_mm_operators', False):
        pytest.skip('compares with compiled mmcv, and there is none')

    def call(function):
        torch.manual_seed(0)
        theirs = function()
        torch.manual_seed(0)
        with called_by_mmcv(OPERATORS):
            return theirs, function()

    return call

import pytest
import torch

from benchmarks.operators import called_by_mmcv
from clasp_mm.compat.operators import OPERATORS


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

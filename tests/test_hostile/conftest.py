import copy

import pytest

from clasp_mm.zoo.index import read_index
from tests.source_tree import ROOT

NANO = 'clasp_pcmoe-swin-nano_1xb32_synthetic-64x32'


@pytest.fixture
def mark(tmp_path):
    """Where a file that runs leaves its mark; nothing may be there at the end."""
    path = tmp_path / 'mark'
    yield path
    assert not path.exists(), 'the file was run'


@pytest.fixture
def entry():
    return copy.deepcopy(read_index(ROOT)[NANO])

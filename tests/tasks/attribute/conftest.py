import pytest

from clasp_mm.synthetic import write_pa100k

COUNTS = {'train': 12, 'val': 5, 'test': 4}


@pytest.fixture(scope='session')
def pa100k(tmp_path_factory):
    """A data root in PA-100K's layout."""
    root = tmp_path_factory.mktemp('pa100k')
    for split, count in COUNTS.items():
        write_pa100k(root, split, count, size=(64, 32), workers=1, progress=False)
    return root

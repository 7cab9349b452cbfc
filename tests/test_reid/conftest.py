import pytest

from clasp_mm.datasets.synthetic import write_market1501


@pytest.fixture(scope='session')
def market(tmp_path_factory):
    """Market-1501's layout: 6 people to train on, 10 to score on (one distractor, one junk)."""
    root = tmp_path_factory.mktemp('market1501')
    for split, count in (('train', 48), ('val', 80)):
        write_market1501(root, split, count, size=(64, 32), workers=1, progress=False)
    return root

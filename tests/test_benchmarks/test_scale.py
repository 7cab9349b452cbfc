import mmap
import os

import pytest

from benchmarks.scale import make_scale, measure_scale, memory, name_of
from clasp_mm.datasets import LUPerson
from clasp_mm.pseudo_labels.store import LabelStore

COUNT = 20_000


@pytest.fixture(scope='module')
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp('scale')
    made = make_scale(folder, COUNT)
    return {**measure_scale(folder, COUNT, num_reads=2000), **made}, folder


def test_everything_is_made_and_is_of_the_size_it_should_be(measured):
    result, folder = measured
    assert result['count'] == COUNT and result['names_agree'] and result['labels_differ']
    assert sorted(result['bytes']) == ['list.txt', 'lmdb', 'store']
    assert result['bytes']['list.txt'] == COUNT * 19
    # A row: three maps of 32 four-bit tokens, 12 regions and 9 attributes of three bytes each, two
    # floats, a byte of status, and its place among the hashes.
    row = 3 * 16 + 12 * 3 + 9 * 3 + 8 + 1 + 12
    assert COUNT * row <= result['bytes']['store'] < COUNT * row + 20_000
    assert all(rate > 0 for rate in result['rate'].values())
    dataset = LUPerson(str(folder / 'lmdb'))
    assert list(dataset.names) == [name_of(i) for i in range(COUNT)]
    assert dataset[COUNT - 1]['img_shape'] == (32, 16)
    assert LabelStore(folder / 'store').row_of(name_of(12_345)) == 12_345


def test_a_worker_holds_little_of_its_own(measured):
    # What two forked processes need beside what they share: buffers, not names.
    result, _ = measured
    assert len(result['workers']) == 2
    for worker in result['workers']:
        assert worker['own'] < 100
        assert 0 < worker['anonymous'] <= worker['pss'] and worker['own'] <= worker['pss']


def test_names_are_no_python_objects():
    import tracemalloc

    from clasp_mm.datasets.name_table import NameTable
    tracemalloc.start()
    table = NameTable.from_names(name_of(i).encode() for i in range(COUNT))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(table) == COUNT and held < COUNT * (12 + 19) * 1.2


def test_memory_is_read_from_the_system():
    before = memory()
    # Pages of its own, where an array may take freed memory.
    with mmap.mmap(-1, 40 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
        assert memory(os.getpid())['anonymous'] - before['anonymous'] == pytest.approx(40, abs=2)


def test_a_large_lmdb_advises_a_list(measured, monkeypatch):
    from mmengine.logging import MMLogger
    said = []
    monkeypatch.setattr('clasp_mm.datasets.luperson._LARGE_SOURCE', COUNT)
    monkeypatch.setattr(MMLogger.get_current_instance(), 'info', said.append)
    folder = measured[1]
    names = LUPerson(str(folder / 'lmdb')).names
    assert len(said) == 1 and f'write their {COUNT} names once' in said[0]
    names.save(folder / 'again.txt')
    assert (folder / 'again.txt').read_bytes() == (folder / 'list.txt').read_bytes()
    LUPerson(str(folder / 'lmdb'), str(folder / 'again.txt'))
    assert len(said) == 1

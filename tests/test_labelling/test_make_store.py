import errno
import threading

import numpy as np
import pytest

from clasp_mm.datasets.images import UnreadableImageError
from clasp_mm.labelling.make_store import make_store
from clasp_mm.pseudo_labels.store import LabelStore, StoreWriter
from tests.test_pseudo_labels.fakes import draw_people, make_labeler


class People:
    """A source of images in memory; some cannot be read, and one may break the run."""

    def __init__(self, count, unreadable=(), break_at=None):
        self.names = [f'{i}.png' for i in range(count)]
        self.images = draw_people(count)
        self.unreadable = unreadable
        self.break_at = break_at

    def load(self, index):
        if index == self.break_at:
            raise RuntimeError('power cut')
        if index in self.unreadable:
            raise UnreadableImageError(f'{self.names[index]}: the file is empty')
        return dict(img=self.images[index][..., ::-1])


def make(source, out, labeler=None, **kwargs):
    return make_store(source, labeler or make_labeler(), out, show_progress=False,
                      **{**dict(batch_size=8, num_workers=0), **kwargs})


def content(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_store_holds_what_the_labeler_says(tmp_path):
    source = People(21, unreadable=(4, 9))
    store = make(source, tmp_path / 'store')
    labels = make_labeler().label(source.images, source.names)
    got = store.read(slice(None))
    readable = np.ones(21, bool)
    readable[[4, 9]] = False
    for name, values in vars(labels).items():
        assert np.array_equal(getattr(got, name)[readable], values[readable]), name
    assert not got.accepted(0.5, 0.2)[~readable].any()
    assert store.arrays['status'][[3, 4, 9]].tolist() == [1, 2, 2]
    assert labels.accepted(0.5, 0.2).sum() > 5


def test_a_whole_batch_unreadable(tmp_path):
    store = make(People(10, unreadable=range(8)), tmp_path / 'store')
    assert store.read(slice(0, 8)).foreground.tolist() == [0] * 8
    assert store.read([9]).foreground > 0 or not store.read([8]).regions.any()


@pytest.mark.parametrize('world_size', [2, 3, 7])
def test_shards_give_the_same_bytes(tmp_path, world_size):
    source = People(45, unreadable=(17,))
    make(source, tmp_path / 'one')
    made = [make(source, tmp_path / 'many', rank=rank, world_size=world_size)
            for rank in reversed(range(world_size))]
    assert [store is not None for store in made] == [False] * (world_size - 1) + [True]
    assert content(tmp_path / 'many') == content(tmp_path / 'one')
    # who comes when the others have done all finds the store, of the same settings alone
    assert len(make(source, tmp_path / 'many', rank=0, world_size=world_size)) == 45
    with pytest.raises(ValueError, match=r"teacher = 'colour-teacher', but 'other'"):
        make(source, tmp_path / 'many', make_labeler(teacher_id='other'), rank=0,
             world_size=world_size)


def test_broken_run_goes_on_and_gives_the_same_bytes(tmp_path):
    make(People(45), tmp_path / 'whole')
    with pytest.raises(RuntimeError, match='power cut'):
        make(People(45, break_at=29), tmp_path / 'broken')
    with pytest.raises(ValueError, match='24 of 45 images'):
        LabelStore(tmp_path / 'broken')
    with pytest.raises(ValueError, match=r"teacher = 'colour-teacher', but 'other'"):
        make(People(45), tmp_path / 'broken', make_labeler(teacher_id='other'))
    with pytest.raises(ValueError, match='num_images = 45, but 46'):
        make(People(46), tmp_path / 'broken')
    labeler = make_labeler()
    make(People(45), tmp_path / 'broken', labeler)
    assert content(tmp_path / 'broken') == content(tmp_path / 'whole')
    assert labeler.clip.model.images_seen < 21 * 13      # only the rows that were left


def test_workers_give_the_same_bytes(tmp_path):
    make(People(20, unreadable=(3,)), tmp_path / 'none')
    make(People(20, unreadable=(3,)), tmp_path / 'two', num_workers=2)
    assert content(tmp_path / 'two') == content(tmp_path / 'none')


def test_labelling_verifies_what_the_disk_gives_back(tmp_path, monkeypatch):
    finish = StoreWriter.finish

    def on_a_bad_disk(writer):
        store = finish(writer)
        path = store.path / 'attr_conf.npy'
        path.write_bytes(path.read_bytes()[:-1] + b'\x01')
        return store

    monkeypatch.setattr(StoreWriter, 'finish', on_a_bad_disk)
    with pytest.raises(ValueError, match=r'attr_conf\.npy of the label store .* changed'):
        make(People(9), tmp_path / 'store')


def test_the_next_batch_is_asked_for_before_a_batch_is_waited_for(tmp_path, monkeypatch):
    labeler, calls = make_labeler(), []

    def spy(name, key):
        call = getattr(labeler, name)
        monkeypatch.setattr(labeler, name, lambda *args: (calls.append((name, key(*args))),
                                                          call(*args))[1])

    spy('see', lambda images, names: names[0])
    spy('name_regions', lambda seen: len(seen.pixels))
    make(People(21), tmp_path / 'store', labeler)
    assert calls == [('see', '0.png'), ('see', '8.png'), ('name_regions', 8), ('see', '16.png'),
                     ('name_regions', 8), ('name_regions', 5)]


def test_reading_goes_on_while_the_disk_is_slow(tmp_path, monkeypatch):
    read_on = threading.Event()

    class Watched(People):
        def load(self, index):
            if index == 32:                               # of the fifth batch
                read_on.set()
            return super().load(index)

    write = StoreWriter.write

    def slow(*args):
        assert read_on.wait(timeout=20)
        write(*args)

    monkeypatch.setattr(StoreWriter, 'write', slow)
    make(Watched(45), tmp_path / 'slow')
    monkeypatch.undo()
    make(People(45), tmp_path / 'store')
    assert content(tmp_path / 'slow') == content(tmp_path / 'store')


def test_an_error_of_the_disk_ends_the_run_which_can_go_on(tmp_path, monkeypatch):
    write = StoreWriter.write

    def full(writer, rows, *args):
        if 16 in rows:
            raise OSError(errno.ENOSPC, 'No space left on device')
        write(writer, rows, *args)

    monkeypatch.setattr(StoreWriter, 'write', full)
    with pytest.raises(OSError, match='No space left'):
        make(People(200), tmp_path / 'store')
    with pytest.raises(ValueError, match=r'\D([1-9]\d|1[0-4]\d) of 200 images'):  # far from all
        LabelStore(tmp_path / 'store')
    monkeypatch.undo()
    make(People(200), tmp_path / 'store')
    make(People(200), tmp_path / 'whole')
    assert content(tmp_path / 'store') == content(tmp_path / 'whole')


def test_a_run_does_not_go_on_in_another_precision(tmp_path):
    with pytest.raises(RuntimeError, match='power cut'):
        make(People(45, break_at=29), tmp_path / 'store')
    with pytest.raises(ValueError, match=r"settings\.amp = 'none', but 'bf16' is wanted"):
        make(People(45), tmp_path / 'store', make_labeler(amp='bf16'))


def test_broken_features_of_a_teacher_are_named(tmp_path):
    labeler = make_labeler()
    teacher = labeler.teacher
    labeler.teacher = lambda x: tuple(maps / 0 for maps in teacher(x))
    with pytest.raises(ValueError, match='features that are not finite'):
        make(People(9), tmp_path / 'store', labeler)

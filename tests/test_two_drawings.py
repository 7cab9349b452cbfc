"""Drawing and labelling, killed or twice at once: they go on, and nothing is left behind."""

import os
import shutil
from functools import partial

import numpy as np
import pytest

from clasp_mm.datasets import LUPerson
from clasp_mm.pseudo_labels.store import LabelStore
from clasp_mm.synthetic import (
    SyntheticPeople,
    load_ground_truth,
    shards,
    write_lip,
    write_people,
    writers,
)
from clasp_mm.utils.claims import HeldError, hold
from clasp_mm.utils.files import partial_name
from tests.test_labelling.test_make_store import People
from tests.test_labelling.test_make_store import make as label
from tests.test_pseudo_labels.fakes import make_labeler
from tests.test_pseudo_labels.test_store import make_labels, open_writer
from tests.two_at_once import die, kill_me, left, state, together

PEOPLE = SyntheticPeople(5, 2, seed=2, size=(64, 32))


def draw(number, out, lmdb=False):
    write_people(out, PEOPLE, lmdb=lmdb, workers=1, progress=False)


def die_before_the_marker(out, lmdb):
    os.replace = kill_me
    draw(0, out, lmdb)


@pytest.mark.parametrize('lmdb', [False, True])
def test_drawing_that_was_killed_before_its_marker_goes_on(tmp_path, lmdb):
    die(die_before_the_marker, tmp_path / 'out', lmdb)
    assert len(os.listdir(tmp_path / 'out')) == 1  # the marker under another name
    draw(0, tmp_path / 'out', lmdb)
    assert len(load_ground_truth(tmp_path / 'out').names) == 10
    assert not [name for name in left(tmp_path) if 'partial' in name or '.parts' in name]


def die_once_it_is_packed(out):
    writers.write_text = kill_me
    draw(0, out, lmdb=True)


@pytest.mark.parametrize('size', [0, 1, 4096])
def test_an_lmdb_that_was_killed_as_it_was_made_goes_on(tmp_path, size):
    die(die_once_it_is_packed, tmp_path)
    (tmp_path / 'lmdb' / 'data.mdb').write_bytes(b'\0' * size)
    draw(0, tmp_path, lmdb=True)
    assert len(LUPerson(str(tmp_path), 'list.txt')) == 10
    assert LUPerson(str(tmp_path), 'list.txt').load(9)['img'].shape == (64, 32, 3)


def die_at_an_image(out):
    write_image = shards.write_image

    def half(path, image, *options):
        if '0000003.jpg' in path.name:
            partial_name(path).write_bytes(b'half')
            kill_me()
        write_image(path, image, *options)

    shards.write_image = half
    draw(0, out)


def test_half_images_of_a_killed_drawing_go(tmp_path):
    die(die_at_an_image, tmp_path / 'out')
    assert [name for name in left(tmp_path) if 'partial' in name]
    draw(0, tmp_path / 'out')
    draw(0, tmp_path / 'whole')
    assert left(tmp_path / 'out') == left(tmp_path / 'whole')


def die_at_the_end(out, kind):
    rmtree = shutil.rmtree
    shutil.rmtree = lambda path, **kwargs: kill_me() if '.parts' in str(path) else rmtree(
        path, **kwargs)
    kind(0, out)


def draw_lip(number, out):
    write_lip(out, 'train', 3, size=(64, 32), workers=1, progress=False)


@pytest.mark.parametrize('kind', [draw, draw_lip])
def test_parts_of_a_drawing_that_was_killed_at_its_end_go(tmp_path, kind):
    die(die_at_the_end, tmp_path / 'out', kind)
    assert [name for name in left(tmp_path) if '.parts' in name]
    kind(0, tmp_path / 'out')
    assert not [name for name in left(tmp_path) if '.parts' in name]


@pytest.mark.parametrize('kind', [draw, partial(draw, lmdb=True), draw_lip])
def test_two_drawings_of_one_folder(tmp_path, kind):
    assert together(kind, tmp_path / 'out', count=3) == 0
    kind(0, tmp_path / 'whole')
    ours, whole = (
        {name: content for name, content in state(tmp_path / place).items()
         if not name.endswith('.mdb')} for place in ('out', 'whole'))
    assert ours == whole != {} and left(tmp_path / 'out') == left(tmp_path / 'whole')


def die_as_a_store_is_made(out):
    np.save = kill_me
    open_writer(out / 'store')


def test_a_store_that_was_killed_as_it_was_made(tmp_path):
    die(die_as_a_store_is_made, tmp_path)
    assert len(os.listdir(tmp_path)) == 1
    open_writer(tmp_path / 'store')
    assert os.listdir(tmp_path) == ['store.partial']


def test_who_finishes_a_store_second_finds_it(tmp_path):
    labels = make_labels(20)
    first, second = open_writer(tmp_path / 'store'), open_writer(tmp_path / 'store')
    first.write(np.arange(20), labels, np.ones(20, bool))
    assert first.finish() is not None and second.finish() is not None
    assert os.listdir(tmp_path) == ['store']
    LabelStore(tmp_path / 'store').verify()


def make_part(number, out):
    label(People(45), out / 'store', make_labeler(), rank=number, world_size=4)


def test_the_processes_of_a_labelling_finish_it_together(tmp_path):
    assert together(make_part, tmp_path, count=4) == 0
    assert os.listdir(tmp_path) == ['store']
    LabelStore(tmp_path / 'store').verify()


def test_a_second_labelling_is_told(tmp_path):
    claim = tmp_path / '.store.0.claim.json'
    with hold(tmp_path / 'store', claim), pytest.raises(HeldError, match='store is held by'):
        label(People(9), tmp_path / 'store', make_labeler())
    assert os.listdir(tmp_path) == []

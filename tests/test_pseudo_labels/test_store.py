import errno
import json
import os
import pickle
import tracemalloc

import numpy as np
import pytest

from clasp_mm.pseudo_labels.hashing import hash_names
from clasp_mm.pseudo_labels.labels import LabelSettings, PseudoLabels
from clasp_mm.pseudo_labels.store import LabelStore, StoreWriter, list_digest, make_header
from clasp_mm.pseudo_labels.store_files import block_checksums, checksum
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY, Vocabulary

GRID, NUMBERS, ATTRIBUTES = (5, 3), (3, 4, 5), 9   # 15 tokens: an odd number to pack


def make_labels(count, seed=0):
    rng = np.random.default_rng(seed)
    return PseudoLabels(
        regions=np.stack([rng.integers(0, k + 1, (count, 15)) for k in NUMBERS], 1).astype('u1'),
        region_label=rng.integers(1, 10, (count, 12)).astype('u1'),
        region_conf=rng.random((count, 12)).astype('f2'),
        attr_value=rng.integers(0, 2, (count, ATTRIBUTES)).astype('u1'),
        attr_conf=rng.random((count, ATTRIBUTES)).astype('f2'),
        foreground=rng.random(count).astype('f4'), person_cosine=rng.random(count).astype('f4'))


def take(labels, rows):
    return PseudoLabels(**{name: value[rows] for name, value in vars(labels).items()})


def same(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in vars(a))


def names_of(count):
    return [f'person{i}.jpg' for i in range(count)]


def header_of(count, **changes):
    spec = dict(vocabulary=DEFAULT_VOCABULARY, clip_id='clip', teacher_id='teacher',
                settings=LabelSettings(), grid=GRID)
    return make_header(hash_names(names_of(count)), **{**spec, **changes})


def open_writer(path, count=20, **changes):
    return StoreWriter(path, header_of(count, **changes), hash_names(names_of(count)))


def make_store(path, count=20):
    labels = make_labels(count)
    with open_writer(path, count) as writer:
        writer.write(np.arange(count), labels, np.ones(count, bool))
        return labels, writer.finish()


def test_round_trip_by_name(tmp_path):
    labels, store = make_store(tmp_path / 'store')
    for i in (0, 7, 19):
        assert same(store.lookup(f'person{i}.jpg'), take(labels, slice(i, i + 1)))
    assert same(store.read([3, 11]), take(labels, [3, 11]))
    again = pickle.loads(pickle.dumps(store))
    assert same(again.lookup('person5.jpg'), store.lookup('person5.jpg'))
    assert len(pickle.dumps(store)) < 20_000
    assert LabelStore(tmp_path / 'store').vocabulary == DEFAULT_VOCABULARY
    assert os.listdir(tmp_path) == ['store']


def test_image_of_another_list_is_named(tmp_path):
    _, store = make_store(tmp_path / 'store')
    with pytest.raises(KeyError, match=r'no image .other/person1.jpg.*another list of 20 images'):
        store.lookup('other/person1.jpg')


def test_unfinished_store_resumes(tmp_path):
    path, labels = tmp_path / 'store', make_labels(20)
    with pytest.raises(RuntimeError, match='killed'), open_writer(path) as writer:
        writer.write(np.arange(8), take(labels, slice(0, 8)), np.arange(8) != 5)
        raise RuntimeError('killed')
    assert not path.exists()
    with pytest.raises(ValueError, match=r'unfinished \(8 of 20 images labelled\); run the same'):
        LabelStore(path)
    with open_writer(path) as writer:
        assert writer.todo.tolist() == list(range(8, 20))
        writer.write(np.arange(8, 20), take(labels, slice(8, 20)), np.ones(12, bool))
        store = writer.finish()
    assert same(store.read(slice(None)), labels)
    assert store.arrays['status'].tolist() == [1] * 5 + [2] + [1] * 14


def test_rows_without_commit_are_not_done(tmp_path):
    # A kill between the write of the data and the commit: the process never reaches __exit__.
    writer = open_writer(tmp_path / 'store')
    writer.write(np.arange(20), make_labels(20), np.ones(20, bool))
    assert open_writer(tmp_path / 'store').todo.tolist() == list(range(20))
    writer.commit()
    assert len(open_writer(tmp_path / 'store').todo) == 0


def test_any_writer_may_finish(tmp_path):
    labels = make_labels(20)
    with open_writer(tmp_path / 'store') as first, open_writer(tmp_path / 'store') as second:
        first.write(np.arange(10), take(labels, slice(0, 10)), np.ones(10, bool))
        assert first.finish() is None
        second.write(np.arange(10, 20), take(labels, slice(10, 20)), np.ones(10, bool))
        store = second.finish()
        assert first.finish().path == store.path
    assert same(store.read(slice(None)), labels)


def test_finished_store_is_not_overwritten(tmp_path):
    make_store(tmp_path / 'store')
    with pytest.raises(FileExistsError, match='remove it'):
        open_writer(tmp_path / 'store')


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(clip_id='other'), r"clip = 'clip', but 'other' is wanted"),
    (dict(teacher_id='other'), r"teacher = 'teacher', but 'other' is wanted"),
    (dict(settings=LabelSettings(stage=3)), 'settings.stage = 2, but 3 is wanted'),
    (dict(grid=(3, 5)), r'grid\[0\] = 5, but 3 is wanted'),
])
def test_resuming_with_other_means_is_an_error(tmp_path, changes, message):
    with open_writer(tmp_path / 'store') as writer:
        writer.write(np.arange(8), make_labels(8), np.ones(8, bool))
    with pytest.raises(ValueError, match=message):
        open_writer(tmp_path / 'store', **changes)


def test_opening_for_another_vocabulary_or_list_is_an_error(tmp_path):
    make_store(tmp_path / 'store')
    words = DEFAULT_VOCABULARY.to_dict()
    words['parts'][3]['phrases'][1] = 'blouse'
    other = Vocabulary.from_dict(words)
    with pytest.raises(ValueError, match=r"parts\[3\].phrases\[1\] = 'shirt', but 'blouse'"):
        LabelStore(tmp_path / 'store', vocabulary=other.to_dict())
    with pytest.raises(ValueError, match=r'num_images = 20, but 21'):
        LabelStore(tmp_path / 'store', num_images=21)
    with pytest.raises(ValueError, match='image_list'):
        LabelStore(tmp_path / 'store', image_list=list_digest(hash_names(['x'])))


def test_damaged_files_are_named(tmp_path):
    make_store(tmp_path / 'store')
    regions = tmp_path / 'store' / 'regions.npy'
    regions.write_bytes(regions.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r'regions.npy.*cut off'):
        LabelStore(tmp_path / 'store').lookup('person1.jpg')
    np.save(regions, np.zeros((20, 3, 9), np.uint8))
    with pytest.raises(ValueError, match=r'regions.npy.*\(20, 3, 9\)'):
        LabelStore(tmp_path / 'store').lookup('person1.jpg')
    header = tmp_path / 'store' / 'header.json'
    spec = json.loads(header.read_text())
    header.write_text(json.dumps({**spec, 'version': 99}))
    with pytest.raises(ValueError, match='version = 99'):
        LabelStore(tmp_path / 'store')
    header.write_text(json.dumps({**spec, 'clip': 'another'}))
    with pytest.raises(ValueError, match=r'header of the label store .* changed since'):
        LabelStore(tmp_path / 'store')
    header.write_text('{')
    with pytest.raises(ValueError, match='damaged'):
        LabelStore(tmp_path / 'store')
    with pytest.raises(FileNotFoundError, match='clasp label make'):
        LabelStore(tmp_path / 'nothing')


def test_large_store_is_small_and_is_mapped_not_read(tmp_path, monkeypatch):
    # LUPerson's 4.18 M images on the 16x8 grid: sparse files, so nothing is written here.
    hashes = np.arange(4_180_000, dtype=np.uint64)
    header = make_header(hashes, DEFAULT_VOCABULARY, 'clip', 'teacher', LabelSettings(), (16, 8))
    monkeypatch.setattr('clasp_mm.pseudo_labels.store.reserve', lambda path: None)
    StoreWriter(tmp_path / 'store', header, hashes)
    folder = tmp_path / 'store.partial'
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1.3e9
    (folder / 'checksums.json').write_text(
        json.dumps({'header.json': checksum(folder / 'header.json')}))
    folder.rename(tmp_path / 'store')
    tracemalloc.start()
    LabelStore(tmp_path / 'store').read([4_000_000])
    assert tracemalloc.get_traced_memory()[1] < 1e6  # mapped, not read
    tracemalloc.stop()


def test_opening_for_another_clip_is_an_error(tmp_path):
    make_store(tmp_path / 'store')
    with pytest.raises(ValueError, match=r"clip = 'clip', but 'ViT-L-14' is wanted; use the same"):
        LabelStore(tmp_path / 'store', clip='ViT-L-14')


def flip(path, at, bit=0):
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def test_one_flipped_bit_anywhere_is_found_by_verify(tmp_path):
    _, store = make_store(tmp_path / 'store')
    store.verify()
    files = sorted((tmp_path / 'store').glob('*.npy'))
    assert len(files) == 10
    for path in files:
        flip(path, -1)
        with pytest.raises(ValueError, match=rf'^{path.name} of the label store .* changed since'):
            store.verify()
        flip(path, -1)
    files[3].unlink()
    with pytest.raises(ValueError, match=rf'^{files[3].name} of'):
        store.verify()


@pytest.mark.parametrize(('name', 'bit'), [
    ('regions', 3), ('region_label', 7), ('attr_value', 7), ('name_row', 7)])
def test_flipped_bits_that_make_labels_impossible_are_found_when_read(tmp_path, name, bit):
    _, store = make_store(tmp_path / 'store')
    flip(tmp_path / 'store' / f'{name}.npy', -1, bit)  # of the last row
    with pytest.raises(ValueError, match=r'is damaged .*verify\(\) names the files'):
        [store.lookup(name) for name in names_of(20)]


def test_any_flipped_byte_gives_labels_or_a_stated_error(tmp_path):
    """What cannot be seen without reading all is seen by verify."""
    make_store(tmp_path / 'store')
    files = sorted((tmp_path / 'store').iterdir())
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(300):
        path = files[rng.integers(len(files))]
        whole = path.read_bytes()
        if rng.random() < 0.1:
            path.write_bytes(whole[:rng.integers(len(whole))])
        else:  # half of them in an array's header, where damage does most
            flip(path, rng.integers(len(whole) if rng.random() < 0.5 else min(len(whole), 128)),
                 rng.integers(8))
        try:
            store = LabelStore(tmp_path / 'store')
            for name in names_of(20):
                labels = store.lookup(name)
                for which in range(3):
                    labels.part_maps(NUMBERS, which, 0.0)
                targets = labels.attr_targets(0.5)[0]
                assert all(target < len(attribute.values) for target, attribute in
                           zip(targets, store.vocabulary.attributes, strict=True))
        except (ValueError, KeyError) as error:
            found += 1
            assert 'label store' in str(error)
        with pytest.raises(ValueError, match='label store'):
            LabelStore(tmp_path / 'store').verify()
        path.write_bytes(whole)
    assert found > 50


def no_space(*args):
    raise OSError(errno.ENOSPC, 'No space left on device')


def test_full_disk_is_met_before_any_labelling(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'posix_fallocate', no_space)
    with pytest.raises(OSError, match=r'No space left.*store\.partial.*npy') as error:
        open_writer(tmp_path / 'store')
    assert error.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == []


def test_full_disk_when_the_store_is_finished(tmp_path, monkeypatch):
    labels = make_labels(20)
    with open_writer(tmp_path / 'store') as writer:
        writer.write(np.arange(20), labels, np.ones(20, bool))
        with monkeypatch.context() as disk, \
                pytest.raises(OSError, match=r'No space left.*blocks\.json'):
            disk.setattr(os, 'fsync', no_space)
            writer.finish()
    assert os.listdir(tmp_path) == ['store.partial']
    assert not list((tmp_path / 'store.partial').glob('checksums*'))
    with open_writer(tmp_path / 'store') as writer:
        assert same(writer.finish().read(slice(None)), labels)


def test_an_image_listed_twice_has_one_name_and_equal_labels(tmp_path):
    names = ['a.jpg', 'b.jpg', 'a.jpg']
    labels = take(make_labels(2), [0, 1, 0])
    header = make_header(hash_names(names), DEFAULT_VOCABULARY, 'clip', 'teacher',
                         LabelSettings(), GRID)
    with StoreWriter(tmp_path / 'store', header, hash_names(names)) as writer:
        writer.write(np.arange(3), labels, np.ones(3, bool))
        store = writer.finish()
    assert same(store.lookup('a.jpg'), take(labels, [2]))
    assert same(store.lookup('b.jpg'), take(labels, [1]))


def test_blocks_are_verified_on_a_sample(tmp_path, monkeypatch):
    """CRC-32 of 'abc' and of 'd' are 352441c2 and 98dd4acc: zlib, and any table of them."""
    monkeypatch.setattr('clasp_mm.pseudo_labels.store_files._BLOCK', 3)
    (tmp_path / 'x.npy').write_bytes(b'abcd')
    assert block_checksums(tmp_path / 'x.npy') == ['352441c2', '98dd4acc']
    monkeypatch.undo()
    _, store = make_store(tmp_path / 'store', 200)
    store.verify(64)
    path = tmp_path / 'store' / 'regions.npy'
    data = bytearray(path.read_bytes())
    data[-1] ^= 16  # another region number that may be
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r'regions\.npy of the label store .* changed since'):
        store.verify(64)
    (tmp_path / 'store' / 'blocks.json').unlink()  # a store that was made before has none
    store.verify(64)
    with pytest.raises(ValueError, match=r'blocks\.json, regions\.npy'):
        store.verify()


def test_a_row_that_holds_no_labels_names_its_image(tmp_path):
    _, store = make_store(tmp_path / 'store')
    values = np.load(tmp_path / 'store' / 'attr_value.npy', mmap_mode='r+')
    values[7, 0] = 200
    values.flush()
    with pytest.raises(ValueError, match=r"image 'person7\.jpg': .*attr_value of rows .* 200"):
        store.lookup('person7.jpg')

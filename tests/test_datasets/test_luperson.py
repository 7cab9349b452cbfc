import errno
import io
import os
import pickle

import cv2
import lmdb
import numpy as np
import pytest
from mmengine.dataset import DefaultSampler
from mmengine.runner import Runner
from PIL import Image

from clasp_mm.datasets import LUPerson
from clasp_mm.datasets.images import UnreadableImageError, decode_image
from clasp_mm.datasets.name_table import NameTable
from clasp_mm.registry import DATASETS

COLOUR = (200, 120, 40)  # red, green, blue


def encode(image, **options):
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def jpeg(colour=COLOUR, size=(12, 24)):
    return encode(Image.new('RGB', size, colour), format='JPEG', quality=95)


def write_images(folder, names, data=None):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg((number * 7 % 256, 0, 0)) if data is None else data)


def write_lmdb(path, items):
    path.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(path), map_size=1 << 24) as environment, \
            environment.begin(write=True) as transaction:
        for name, data in items.items():
            transaction.put(name.encode(), data)


def keep_key(sample):
    return {'key': sample['img_key'], 'skipped': sample['skipped'], 'idx': sample['sample_idx']}


# Decoding

def sixteen_bit():
    image = np.full((24, 12, 3), [value * 257 for value in COLOUR[::-1]], np.uint16)
    return cv2.imencode('.png', image)[1].tobytes()


def animated_gif():
    frames = [Image.new('RGB', (12, 24), colour) for colour in (COLOUR, (0, 0, 0))]
    return encode(frames[0], format='GIF', save_all=True, append_images=frames[1:])


GRAY = (120, 120, 120)


@pytest.mark.parametrize('data, colour', [
    (jpeg(), COLOUR),
    (encode(Image.new('L', (12, 24), 120), format='JPEG'), GRAY),
    (encode(Image.new('L', (12, 24), 120), format='PNG'), GRAY),
    (encode(Image.new('I;16', (12, 24), 120 * 257), format='PNG'), GRAY),
    (encode(Image.new('RGBA', (12, 24), (*COLOUR, 90)), format='PNG'), COLOUR),
    (encode(Image.new('LA', (12, 24), (120, 90)), format='PNG'), GRAY),
    (encode(Image.new('RGB', (12, 24), COLOUR).quantize(4), format='PNG'), COLOUR),
    (encode(Image.new('RGB', (12, 24), COLOUR).convert('CMYK'), format='JPEG'), COLOUR),
    (sixteen_bit(), COLOUR),
    (animated_gif(), COLOUR),
    (encode(Image.new('RGB', (12, 24), COLOUR), format='WEBP', lossless=True), COLOUR),
    (encode(Image.new('RGB', (12, 24), COLOUR), format='BMP'), COLOUR),
    (encode(Image.new('RGB', (12, 24), COLOUR), format='TIFF'), COLOUR),
], ids=['jpeg', 'gray-jpeg', 'gray-png', 'gray16-png', 'rgba', 'gray-alpha', 'palette', 'cmyk',
        'rgb16-png', 'gif', 'webp', 'bmp', 'tiff'])
def test_decodes_to_bgr(data, colour):
    image = decode_image(data)
    assert image.shape == (24, 12, 3) and image.dtype == np.uint8
    assert np.abs(image.astype(int) - colour[::-1]).max() <= 3


def test_decodes_one_pixel():
    image = decode_image(encode(Image.new('RGB', (1, 1), COLOUR), format='PNG'))
    assert image.tolist() == [[list(COLOUR[::-1])]]


@pytest.mark.parametrize('data, words', [
    (b'', 'empty'), (b'no image at all', 'no known image'),
    (jpeg(size=(200, 200))[:-40], 'cut off'), (jpeg()[:60], 'cut off'),
    (jpeg()[:4] + b'\xff\xd9', 'no known image')],
    ids=['empty', 'text', 'cut', 'header', 'hollow'])
def test_refuses_what_is_no_whole_image(data, words):
    with pytest.raises(UnreadableImageError, match=words):
        decode_image(data)


ENCODED = [encode(Image.new('RGB', (40, 80), COLOUR), **options) for options in (
    dict(format='JPEG'), dict(format='JPEG', progressive=True), dict(format='PNG'),
    dict(format='GIF'), dict(format='WEBP'), dict(format='BMP'), dict(format='TIFF'),
    dict(format='TIFF', compression='tiff_lzw'))]
ENCODED += [encode(Image.new('CMYK', (40, 80)), format='JPEG'), sixteen_bit(), animated_gif()]


def decode_or_refuse(data):
    try:
        image = decode_image(data)
    except UnreadableImageError:
        return None
    assert image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8 and image.size
    return image


@pytest.mark.filterwarnings('ignore')
def test_any_bytes_give_an_image_or_the_stated_error(tmp_path):
    rng = np.random.default_rng(0)
    refused = 0
    for round_ in range(24):
        for data in ENCODED:
            damaged = bytearray(data)
            for at in rng.integers(0, len(data) if round_ % 2 else 64, rng.integers(1, 9)):
                damaged[at] = rng.integers(256)
            refused += decode_or_refuse(bytes(damaged)) is None
        start = (b'', b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'GIF89a', b'BM', b'II*\0')[round_ % 6]
        decode_or_refuse(start + rng.bytes(rng.integers(1, 300)))
    assert refused > 50


@pytest.mark.filterwarnings('ignore')
def test_a_cut_file_is_refused_wherever_it_is_cut():
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (30, 20, 3), np.uint8))
    for options in (dict(format='JPEG'), dict(format='JPEG', progressive=True),
                    dict(format='PNG'), dict(format='WEBP'), dict(format='BMP')):
        data = encode(noise, **options)
        for share in np.linspace(0.02, 0.98, 25):
            assert decode_or_refuse(data[:int(share * len(data))]) is None, (options, share)


@pytest.mark.parametrize('options', [
    dict(format='JPEG'), dict(format='JPEG', progressive=True, exif=b'Exif\0\0' + b'x' * 300),
    dict(format='PNG'), dict(format='BMP')], ids=str)
def test_a_large_image_is_refused_before_it_is_decoded(monkeypatch, options):
    loading = 'clasp_mm.datasets.images'
    data = encode(Image.new('RGB', (120, 61)), **options)
    monkeypatch.setattr(f'{loading}.MAX_PIXELS', 120 * 61)
    assert decode_image(data).shape == (61, 120, 3)
    monkeypatch.setattr(f'{loading}.MAX_PIXELS', 120 * 61 - 1)
    monkeypatch.setattr(f'{loading}.cv2', None)
    with pytest.raises(UnreadableImageError, match='too large: 120 x 61 pixels'):
        decode_image(data)


@pytest.mark.filterwarnings('ignore')
def test_a_decompression_bomb_is_refused():
    bomb = bytearray(encode(Image.new('RGB', (10, 10)), format='GIF'))
    bomb[6:10] = b'\xff\xff\xff\xff'  # 65535 x 65535 in a hundred bytes
    with pytest.raises(UnreadableImageError, match='too large'):
        decode_image(bytes(bomb))


# Names

@pytest.mark.parametrize('text, names', [
    ('a.jpg\nb c.jpg\n', ['a.jpg', 'b c.jpg']),
    ('a.jpg\nb.jpg', ['a.jpg', 'b.jpg']),
    ('\n\na.jpg\r\n\r\n行人/b.jpg\r\n\n', ['a.jpg', '行人/b.jpg']),
    ('\ufeffé.jpg\n b .jpg', ['é.jpg', ' b .jpg']),
    ('\n \n', [' ']), ('a', ['a']), ('\r\n', []), ('', [])])
def test_list_file(tmp_path, text, names):
    path = tmp_path / 'list.txt'
    path.write_bytes(text.encode())
    assert list(NameTable.from_file(path)) == names


def test_list_file_longer_than_a_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr('clasp_mm.datasets.name_table._CHUNK', 7)
    names = [f'{number}' * (number % 5 + 1) for number in range(200)]
    (tmp_path / 'list.txt').write_text('\n'.join(names))
    assert list(NameTable.from_file(tmp_path / 'list.txt')) == names


def test_names_survive_saving_pickling_and_subsets(tmp_path):
    names = [f'dir {number}/{"ü" * number}.jpg' for number in range(50)]
    table = NameTable.from_names(name.encode() for name in names)
    table.take(np.arange(50)[::-3]).save(tmp_path / 'sub' / 'list.txt')
    mapped = NameTable.from_file(tmp_path / 'sub' / 'list.txt')
    assert list(mapped) == names[::-3]
    assert os.listdir(tmp_path / 'sub') == ['list.txt']
    assert list(pickle.loads(pickle.dumps(mapped))) == names[::-3]
    assert len(pickle.dumps(mapped)) < 12 * len(mapped) + 1000  # the text stays in the file
    with pytest.raises(ValueError, match='line break'):
        NameTable.from_names([b'a\nb.jpg'])


# The data set

NAMES = ['a.jpg', 'b/with space.JPG', 'b/ünï 行人.png', 'c/d/e.jpeg']


@pytest.fixture
def sources(tmp_path):
    """The same images as folder, list and LMDB (of both layouts)."""
    folder = tmp_path / 'images'
    write_images(folder, NAMES)
    (folder / 'notes.txt').write_text('no image')
    (tmp_path / 'list.txt').write_text('\n'.join(NAMES))
    items = {name: (folder / name).read_bytes() for name in NAMES}
    write_lmdb(tmp_path / 'plain', items)
    write_lmdb(tmp_path / 'official' / 'lmdb', items)
    return {
        'folder': {'data_root': str(folder)},
        'list': {'data_root': str(folder), 'ann_file': str(tmp_path / 'list.txt')},
        'lmdb': {'data_root': str(tmp_path / 'plain')},
        'lmdb of LUPerson': {'data_root': str(tmp_path / 'official')},
        'lmdb and list': {'data_root': str(tmp_path / 'plain'),
                          'ann_file': str(tmp_path / 'list.txt')},
    }


@pytest.mark.parametrize(
    'source', ['folder', 'list', 'lmdb', 'lmdb of LUPerson', 'lmdb and list'])
def test_all_sources_give_the_same_samples(sources, source):
    dataset = DATASETS.build(dict(type='clasp_mm.LUPerson', **sources[source]))
    assert [dataset[index]['img_key'] for index in range(len(dataset))] == NAMES
    for index, sample in enumerate(dataset[number] for number in range(4)):
        assert sample['sample_idx'] == index
        assert sample['skipped'] == ''
        assert sample['img_shape'] == sample['ori_shape'] == (24, 12)
        assert abs(int(sample['img'][0, 0, 2]) - index * 7) <= 2  # red counts the images
        assert NAMES[index] in sample['img_path']
    assert dataset[-1]['sample_idx'] == 3


def test_scan_follows_links_once(tmp_path):
    write_images(tmp_path / 'real', ['x.jpg'])
    (tmp_path / 'root').mkdir()
    (tmp_path / 'root' / 'link').symlink_to(tmp_path / 'real')
    (tmp_path / 'real' / 'round').symlink_to(tmp_path / 'real')
    assert list(LUPerson(str(tmp_path / 'root')).names) == ['link/x.jpg']


def test_subset_by_seed(tmp_path):
    (tmp_path / 'list.txt').write_text('\n'.join(f'{number:03d}.jpg' for number in range(100)))

    def subset(**options):
        return list(LUPerson(str(tmp_path), 'list.txt', **options).names)

    chosen = subset(num_images=30, seed=1)
    assert len(set(chosen)) == 30 and chosen == sorted(chosen)
    assert chosen == subset(num_images=30, seed=1) != subset(num_images=30, seed=2)
    assert subset(indices=3) == ['000.jpg', '001.jpg', '002.jpg']
    assert subset(indices=[7, -1]) == ['007.jpg', '099.jpg']


@pytest.mark.parametrize('options, words', [
    (dict(num_images=3), 'num_images=3 of the 2'), (dict(num_images=0), 'num_images=0'),
    (dict(indices=3), 'indices=3 of the 2'), (dict(indices=[0, 2]), r'\[-2, 2\)'),
    (dict(indices=[]), 'at least one'), (dict(indices=1, num_images=1), 'one of them'),
    (dict(max_refetch=-1), 'max_refetch')])
def test_wrong_options(tmp_path, options, words):
    write_images(tmp_path, ['a.jpg', 'b.jpg'])
    with pytest.raises(ValueError, match=words):
        LUPerson(str(tmp_path), **options)


def test_empty_sources(tmp_path):
    (tmp_path / 'list.txt').write_text('\n\n')
    write_lmdb(tmp_path / 'db', {})
    with pytest.raises(ValueError, match=r'names no image; put images ending in \.jpg'):
        LUPerson(str(tmp_path))
    with pytest.raises(ValueError, match=r'list\.txt.* names no image; write one'):
        LUPerson(str(tmp_path), 'list.txt')
    with pytest.raises(ValueError, match='names no image'):
        LUPerson(str(tmp_path / 'db'))
    with pytest.raises(FileNotFoundError, match=r'no list file.*missing\.txt'):
        LUPerson(str(tmp_path), 'missing.txt')
    with pytest.raises(FileNotFoundError, match='nowhere'):
        LUPerson(str(tmp_path / 'nowhere'))


BAD = {'corrupt.jpg': b'not an image', 'cut.jpg': jpeg(size=(200, 200))[:-99], 'empty.png': b''}


def bad_folder(tmp_path, good=5):
    names = [f'good{number}.jpg' for number in range(good)]
    write_images(tmp_path, names)
    for name, data in BAD.items():
        (tmp_path / name).write_bytes(data)
    everything = sorted([*names, *BAD, 'missing.jpg'])
    (tmp_path / 'list.txt').write_text('\n'.join(everything))
    return everything


@pytest.mark.parametrize('layout', ['list', 'lmdb'])
def test_unreadable_images_are_replaced_and_named(tmp_path, layout):
    everything = bad_folder(tmp_path)
    if layout == 'lmdb':
        write_lmdb(tmp_path, {name: (tmp_path / name).read_bytes()
                              for name in everything if name != 'missing.jpg'})
    dataset = LUPerson(str(tmp_path), 'list.txt')
    for index, name in enumerate(everything):
        sample = dataset[index]
        assert everything[sample['sample_idx']] == sample['img_key']
        skipped = sample['skipped'].split('\n') if sample['skipped'] else []
        if name.startswith('good'):
            assert sample['img_key'] == name and not skipped
        else:
            assert skipped[0] == name and len(set(skipped)) == len(skipped)
            assert sample['img_key'].startswith('good')
            assert not any(other.startswith('good') for other in skipped)


def test_a_refused_sample_counts_as_unreadable(tmp_path):
    write_images(tmp_path, ['a.jpg', 'b.jpg'])
    dataset = LUPerson(
        str(tmp_path), pipeline=[lambda sample: sample if sample['sample_idx'] else None])
    assert dataset[0]['img_key'] == 'b.jpg' and dataset[0]['skipped'] == 'a.jpg'


def test_an_error_of_the_pipeline_is_not_hidden(tmp_path):
    write_images(tmp_path, ['a.jpg', 'b.jpg'])

    def broken(sample):
        raise ValueError('wrong store')

    with pytest.raises(ValueError, match='wrong store'):
        LUPerson(str(tmp_path), pipeline=[broken])[0]


@pytest.mark.parametrize('max_refetch, tried', [(100, 4), (2, 3), (0, 1)])
def test_nothing_readable_is_an_error(tmp_path, max_refetch, tried):
    bad_folder(tmp_path, good=0)
    dataset = LUPerson(str(tmp_path), 'list.txt', max_refetch=max_refetch)
    with pytest.raises(RuntimeError, match=f'^{tried} images in a row.*the last was .*: .*Check'):
        dataset[0]


@pytest.mark.parametrize('source', ['list', 'lmdb'])
def test_workers_give_what_one_process_gives(sources, source):
    dataset = LUPerson(**sources[source], pipeline=[keep_key])
    alone = [dataset[index] for index in range(len(dataset))]  # leaves an LMDB open over the fork
    loader = Runner.build_dataloader(dict(
        dataset=dataset, sampler=DefaultSampler(dataset, shuffle=False), batch_size=1,
        num_workers=2), seed=0)
    assert [item for batch in loader for item in
            [{key: value[0] for key, value in batch.items()}]] == alone
    assert pickle.loads(pickle.dumps(dataset))[2] == alone[2]


def test_two_data_sets_share_an_lmdb(sources):
    first, second = (LUPerson(**sources['lmdb']) for _ in range(2))
    assert (first[1]['img'] == second[1]['img']).all()


def test_names_that_are_not_utf8(tmp_path):
    name = b'caf\xe9.jpg'
    with open(os.path.join(os.fsencode(tmp_path), name), 'wb') as file:
        file.write(jpeg())
    write_images(tmp_path, ['b.jpg'])
    dataset = LUPerson(str(tmp_path))
    assert {sample['img_path'] for sample in (dataset[0], dataset[1])} == {
        str(tmp_path / 'b.jpg'), os.fsdecode(os.path.join(os.fsencode(tmp_path), name))}
    with open(os.path.join(os.fsencode(tmp_path), name), 'wb') as file:
        file.write(b'corrupt')
    assert dataset[1]['skipped'] == 'caf\\udce9.jpg'


def test_a_name_listed_twice_is_an_image_twice(tmp_path):
    write_images(tmp_path, ['a.jpg', 'b.jpg'])
    (tmp_path / 'list.txt').write_text('a.jpg\nb.jpg\na.jpg\n')
    dataset = LUPerson(str(tmp_path), 'list.txt')
    assert [(sample['img_key'], sample['sample_idx']) for sample in
            (dataset[index] for index in range(3))] == [('a.jpg', 0), ('b.jpg', 1), ('a.jpg', 2)]
    assert (dataset[0]['img'] == dataset[2]['img']).all()


def test_a_full_disk_leaves_no_half_list(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match=r'No space left.*names\.txt'):
        NameTable.from_names([b'a.jpg']).save(tmp_path / 'names.txt')
    assert os.listdir(tmp_path) == []


def test_metainfo_is_a_copy(tmp_path):
    write_images(tmp_path, ['a.jpg'])
    dataset = LUPerson(str(tmp_path), metainfo={'city': 'x'})
    dataset.metainfo['city'] = 'y'
    assert dataset.metainfo['city'] == 'x' and 'city' not in LUPerson.METAINFO

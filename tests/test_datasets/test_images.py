"""What is an image, and what a viewer shows of it."""

import io
import os

import lmdb
import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features

from clasp_mm.apis import load_images
from clasp_mm.datasets import LUPerson
from clasp_mm.datasets import images as reader
from clasp_mm.datasets.images import (
    UnreadableImageError,
    decode_image,
    image_shape,
    list_files,
    list_images,
    read_image,
)
from clasp_mm.synthetic import SyntheticPeople, write_people
from tests import hostile


@pytest.fixture
def tree(tmp_path):
    return hostile.make(tmp_path / 'tree')


def colours(image):
    """Mean colour of the upper and the lower half, RGB."""
    assert image.shape == (*hostile.UPRIGHT, 3) and image.dtype == np.uint8
    return image[:11, :, ::-1].mean((0, 1)), image[13:, :, ::-1].mean((0, 1))


def is_upright(image):
    upper, lower = colours(image)
    return np.abs(upper - (220, 20, 20)).max() < 12 and np.abs(lower - (20, 20, 220)).max() < 12


@pytest.mark.parametrize('orientation', range(2, 9))
@pytest.mark.parametrize('kind, options', [
    ('JPEG', dict(quality=95)), ('PNG', {}), ('WEBP', dict(lossless=True)), ('TIFF', {}),
    ('MPO', dict(quality=95)), ('AVIF', dict(quality=95))])
def test_every_format_is_turned_as_its_exif_says(kind, options, orientation):
    if kind == 'AVIF' and not features.check('avif'):
        pytest.skip('this Pillow has no AVIF')
    data = hostile.turned(kind, orientation, **options)
    assert is_upright(decode_image(data)) and is_upright(decode_image(memoryview(data)))


def test_alpha_is_dropped_whatever_the_format():
    rgba = np.full((8, 8, 4), (200, 100, 50, 0), np.uint8)
    rgba[:, 4:, 3] = np.arange(128, 160).reshape(8, 4)
    for kind, options in (('PNG', {}), ('WEBP', dict(lossless=True, exact=True)), ('TIFF', {})):
        data = hostile.encoded(Image.fromarray(rgba), kind, **options)
        assert (decode_image(data) == (50, 100, 200)).all(), kind


def test_exif_is_found_wherever_it_stands(tmp_path):
    assert is_upright(decode_image(hostile.with_xmp_first(hostile.turned('JPEG', quality=95))))
    # ImageMagick's way: EXIF as a text of hexadecimal digits
    raw = Image.Exif()
    raw[0x0112] = 6
    raw = raw.tobytes()
    text = PngImagePlugin.PngInfo()
    text.add_text('Raw profile type exif', f'\nexif\n{len(raw):8}\n{raw.hex()}\n', zip=True)
    sideways = hostile.picture().transpose(Image.Transpose.ROTATE_90)
    file = io.BytesIO()
    sideways.save(file, format='PNG', pnginfo=text)
    assert is_upright(decode_image(file.getvalue()))
    (tmp_path / 'a.jpg').write_bytes(hostile.turned('JPEG'))
    assert image_shape(tmp_path / 'a.jpg') == hostile.UPRIGHT


@pytest.mark.parametrize('big', [False, True])
def test_tiff_of_both_kinds_is_as_a_viewer_shows_it(big):
    turned = hostile.picture().transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert is_upright(decode_image(hostile.encoded(turned, 'TIFF', big_tiff=big, exif=exif)))
    clear = hostile.picture().copy()
    clear.putalpha(0)
    np.testing.assert_array_equal(decode_image(hostile.encoded(clear, 'TIFF', big_tiff=big)),
                                  np.asarray(hostile.picture())[..., ::-1])


@pytest.mark.parametrize('exif', [b'', b'II*\0', b'MM\0*\0\0\0\x08\xff\xff', b'\0' * 40])
def test_damaged_exif_turns_nothing(exif):
    data = hostile.encoded(hostile.picture(), 'JPEG', quality=95, exif=b'Exif\0\0' + exif)
    assert is_upright(decode_image(data))


def test_what_follows_a_jpeg_does_not_count_and_what_lacks_does():
    whole, motion = hostile.encoded(hostile.picture(), 'JPEG', quality=95), hostile.motion_photo()
    assert len(motion) > len(whole) + 1000
    assert (decode_image(motion) == decode_image(whole)).all()
    end = whole.rindex(b'\xff\xd9')
    for cut in (whole[:end], whole[:end] + b'\0' * 50, whole[:end - 1], whole[:end // 2]):
        with pytest.raises(UnreadableImageError, match='cut off'):
            decode_image(cut)
    progressive = hostile.encoded(hostile.picture(), 'JPEG', progressive=True)
    assert is_upright(decode_image(progressive + b'\xff\xda trailer'))
    with pytest.raises(UnreadableImageError, match='cut off'):  # between two scans
        decode_image(progressive[:progressive.rindex(b'\xff\xda')] + b'\0')


def test_a_side_that_no_picture_can_be_drawn_with_is_refused():
    data = hostile.encoded(Image.new('RGB', (reader.MAX_SIDE + 1, 1)), 'PNG')
    with pytest.raises(UnreadableImageError, match='too large: 32769 x 1 pixels'):
        decode_image(data)


def test_an_unreadable_file_is_named(tree):
    for name in (*hostile.UNREADABLE, 'gone.jpg', 'itself', 'apart.jpg'):
        with pytest.raises(UnreadableImageError, match=rf'tree/{name}: '):
            read_image(tree / name)
        with pytest.raises(ValueError, match=rf'tree/{name}: '):
            load_images([tree / 'a.jpg', tree / name], (8, 4))
    with pytest.raises(ValueError, match=r'caf\\udce9\.jpg/x: '):
        load_images([f'{tree}/{os.fsdecode(hostile.NOT_UTF8)}/x'])


def test_the_list_is_that_of_the_docstring(tree, said):
    assert list(list_images(tree)) == hostile.NAMES
    warning, = said
    for word in ('itself: Too many levels', r'line\x0abreak.jpg', 'nowhere.jpg: no file',
                 'pipe.jpg: no file', 'linked/round/: a link', 'zoom/: a link'):
        assert word.replace(r'\x0a', '\n') in warning, word
    assert 'checkpoint' not in warning and '._a' not in warning


def test_a_linked_folder_has_the_same_name_on_every_machine(tmp_path, monkeypatch):
    """Whatever order a folder gives its entries in."""
    hostile.make(tmp_path / 'tree')
    scandir = os.scandir

    class Shuffled(list):

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    for seed in range(5):
        rng = np.random.default_rng(seed)
        with monkeypatch.context() as patch:
            patch.setattr(os, 'scandir', lambda path, rng=rng: Shuffled(
                rng.permutation(np.array([*scandir(path), None], object)[:-1]).tolist()))
            assert list(list_images(tmp_path / 'tree')) == hostile.NAMES


def test_a_folder_without_permission_is_left_out_and_named(tree, monkeypatch, said):
    (tree / 'closed').mkdir()
    (tree / 'closed/a.jpg').write_bytes(b'')
    scandir = os.scandir

    def refuse(path):
        if os.fsdecode(path).endswith(('closed', 'closed/')):
            raise PermissionError(13, 'Permission denied')
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    assert list(LUPerson(str(tree)).names) == hostile.NAMES
    assert 'closed/: Permission denied' in said[-1]
    for folder, words in ((tree / 'closed', 'Permission denied'), (tree / 'gone', 'No such file'),
                          (tree / 'itself', 'Too many levels'), (tree / 'a.jpg', 'Not a dir')):
        with pytest.raises(FileNotFoundError, match=f'cannot be listed: {words}'):
            list_files(folder)


def test_part_maps_of_synthetic_people_are_no_images(tmp_path):
    write_people(tmp_path, SyntheticPeople(2, 2, size=(64, 32)), workers=1, progress=False)
    assert list(list_images(tmp_path)) == list(LUPerson(str(tmp_path), 'list.txt').names)
    assert len(list_images(tmp_path / 'parsing')) == 4  # asked for


def test_all_files_are_listed_by_any_ending(tree):
    assert set(list_files(tree)) == {*hostile.NAMES, 'notes.txt'}
    assert list(list_files(tree, ('.txt', '.gif'))) == ['moving.gif', 'notes.txt']


def test_pixels_and_faults_are_the_same_from_folder_and_lmdb(tree, tmp_path):
    folder = LUPerson(str(tree))
    (tmp_path / 'lmdb').mkdir()
    with lmdb.open(str(tmp_path / 'lmdb'), map_size=1 << 22) as environment, \
            environment.begin(write=True) as transaction:
        for name in hostile.NAMES:
            with open(tree / name, 'rb') as file:
                transaction.put(os.fsencode(name), file.read() or b'?')
    packed = LUPerson(str(tmp_path / 'lmdb'))
    assert list(packed.names) == list(folder.names)
    for row, name in enumerate(hostile.NAMES):
        if name in hostile.UNREADABLE:
            for source in (folder, packed):
                with pytest.raises(UnreadableImageError, match=f'^{name}: '):
                    source.load(row)
        else:
            image = folder.load(row)['img']
            assert (packed.load(row)['img'] == image).all()
            assert image.shape[:2] != hostile.UPRIGHT or is_upright(image), name


# Lists

@pytest.mark.parametrize('encoding, mark', [
    ('utf-8', b''), ('utf-8', b'\xef\xbb\xbf'), ('utf-16-le', b'\xff\xfe'),
    ('utf-16-be', b'\xfe\xff'), ('utf-32-le', b'\xff\xfe\0\0'), ('utf-32-be', b'\0\0\xfe\xff')])
def test_a_list_says_its_encoding(tree, encoding, mark):
    (tree / 'list.txt').write_bytes(mark + 'a.jpg\r\n\r\nürün/行.jpg\r\ndot.png'.encode(encoding))
    source = LUPerson(str(tree), 'list.txt')
    assert list(source.names) == ['a.jpg', 'ürün/行.jpg', 'dot.png']
    assert source[2]['img_shape'] == (1, 1)


def test_a_list_in_utf16_without_a_mark_is_refused_with_its_line(tree):
    (tree / 'list.txt').write_bytes(b'a.jpg\ndot.png\n' + 'b.jpg\n'.encode('utf-16-le'))
    with pytest.raises(ValueError, match=r'list\.txt:3: no utf-8 text, it holds a zero byte; save'):
        LUPerson(str(tree), 'list.txt')

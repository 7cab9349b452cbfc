"""A folder with all that people's folders hold."""

import io
import os
import struct
from pathlib import Path

import numpy as np
from PIL import Image

UPRIGHT = (24, 12)  # (H, W) of what a viewer shows: red above, blue below
NOT_UTF8 = b'caf\xe9.jpg'
XMP = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>'

# In byte order. Where a phone was turned, a viewer turns the picture back.
READABLE = sorted([
    'a.jpg', 'apart.jpg/inside.png', 'dot.png', os.fsdecode(NOT_UTF8), 'linked/far.jpg',
    'motion.jpg', 'moving.gif', 'stereo.mpo', 'strip.png', 'tall.png', 'turned.jpg',
    'turned_png.png', 'turned_tif.tif', 'turned_webp.webp', 'turned_xmp.jpg'], key=os.fsencode)
UNREADABLE = ['cut.jpg', 'empty.jpg', 'text.jpg']
NAMES = sorted(READABLE + UNREADABLE, key=os.fsencode)


def picture() -> Image.Image:
    pixels = np.zeros((*UPRIGHT, 3), np.uint8)
    pixels[:12], pixels[12:] = (220, 20, 20), (20, 20, 220)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


def turned(kind: str, orientation: int = 6, **options) -> bytes:
    """The picture as a camera lying on its side stores it."""
    back = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture().transpose(back), kind, exif=exif, **options)


def with_xmp_first(data: bytes) -> bytes:
    """A JPEG whose EXIF is not its first application segment."""
    at = data.index(b'Exif\0\0') - 4
    return data[:at] + b'\xff\xe1' + struct.pack('>H', len(XMP) + 2) + XMP + data[at:]


def motion_photo() -> bytes:
    """A JPEG before a phone's clip, in which markers of JPEG stand by chance."""
    clip = b'\0\0\0\x18ftypmp42' + bytes(range(256)) * 4 + b'\xff\xd9, \xff\xda' + b'\0' * 9
    return encoded(picture(), 'JPEG', quality=95) + clip


def make(root: Path) -> Path:
    """Write the tree; what lies in it is named by the lists above."""
    root.mkdir(parents=True)
    whole = encoded(picture(), 'JPEG', quality=95)
    stereo = encoded(picture(), 'MPO', save_all=True, append_images=[picture()], quality=95)
    files = {
        'a.jpg': whole, 'apart.jpg/inside.png': encoded(picture(), 'PNG'),
        'dot.png': encoded(Image.new('RGB', (1, 1)), 'PNG'), 'motion.jpg': motion_photo(),
        'moving.gif': encoded(picture(), 'GIF', save_all=True,
                              append_images=[Image.new('RGB', UPRIGHT[::-1])]),
        'stereo.mpo': stereo[:-100],  # the second picture is cut off
        'strip.png': encoded(Image.new('RGB', (3000, 2)), 'PNG'),
        'tall.png': encoded(Image.new('RGB', (2, 300)), 'PNG'),
        'turned.jpg': turned('JPEG', quality=95), 'turned_png.png': turned('PNG'),
        'turned_tif.tif': turned('TIFF'), 'turned_webp.webp': turned('WEBP', lossless=True),
        'turned_xmp.jpg': with_xmp_first(turned('JPEG', quality=95)),
        'cut.jpg': encoded(Image.effect_noise((90, 90), 90), 'JPEG')[:-99], 'empty.jpg': b'',
        'text.jpg': b'no image', '.ipynb_checkpoints/a-checkpoint.jpg': whole, '._a.jpg': b'mac',
        'line\nbreak.jpg': whole, 'notes.txt': b'a list'}
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    with open(os.path.join(os.fsencode(root), NOT_UTF8), 'wb') as file:
        file.write(whole)
    far = root.with_name(f'{root.name}_far')
    far.mkdir()
    (far / 'far.jpg').write_bytes(whole)
    (far / 'round').symlink_to(root)
    (root / 'linked').symlink_to(far)
    (root / 'zoom').symlink_to(far)  # a second way to the same folder
    (root / 'itself').symlink_to(root / 'itself')
    (root / 'nowhere.jpg').symlink_to(root / 'gone.jpg')
    os.mkfifo(root / 'pipe.jpg')
    return root

"""Which files are images, and their pixels: the one lister and the one reader of the library.

Listing. Below a folder, an image is a regular file, or a link to one, whose name ends as
:data:`IMAGE_SUFFIXES` say, whatever its case. Hidden files and folders, whose names begin with a
dot, are left out, and folders in it that hold a file :data:`NO_MEDIA`, as those of part maps do,
and what only looks like an image: a folder called ``x.jpg``, a link to nothing. Linked folders are
entered like others, but each folder once: what lies in the tree itself comes first, then links by
their names, so a loop ends and the same tree gives the same names on every machine. What cannot be
entered is left out, counted and named in the log.

Reading. Any of those formats becomes (H, W, 3) uint8 BGR as a viewer shows it: the first picture of
several, alpha dropped, EXIF orientation applied. What cannot be read is one error,
:class:`UnreadableImageError`, that names the file; who reads a folder leaves the image out, and
counts and names it (:func:`read_images`, :func:`warn_unreadable`).
"""

import heapq
import io
import logging
import os
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.logging import print_log
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from clasp_mm.utils.files import printable, replacing

from .name_table import NameTable

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.gif', '.mpo',
                  '.avif')
NO_MEDIA = '.nomedia'  # by which phones too tell folders whose pictures are not to be shown
MAX_PIXELS = 1 << 26
MAX_SIDE = 1 << 15  # no picture of it can be written as JPEG, or drawn, much above

_JPEG_START, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
_JPEG_MARKER = re.compile(rb'\xff[^\x00\xff\xd0-\xd7]')  # neither data, fill bytes nor restarts
_TIFF_STARTS = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')  # the last two of BigTIFF
_ORIENTATION = 0x0112  # tag of EXIF
_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}  # OpenCV's codes; from 5 on after a transposition


def list_images(folder: str | os.PathLike) -> NameTable:
    """Names of all images in and below a folder, see above; as :func:`list_files`."""
    return list_files(folder, IMAGE_SUFFIXES)


def list_files(folder: str | os.PathLike, suffixes: Sequence[str] = ('', )) -> NameTable:
    """Names of all files in and below a folder that have one of some endings, in byte order.

    Args:
        folder: Where to look, as the module says.
        suffixes: Lower-case endings; by default any.

    Returns:
        Names relative to ``folder``, with ``/`` between the parts.

    Raises:
        FileNotFoundError: The folder itself is missing or cannot be entered; says why.
    """
    endings = tuple(os.fsencode(suffix) for suffix in suffixes)
    names: list[bytes] = []
    odd: list[str] = []
    seen: set[tuple[int, int]] = set()
    waiting = [(False, b'', os.fsencode(folder))]  # a heap: linked or not, name, path
    while waiting:
        _, prefix, path = heapq.heappop(waiting)
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in seen:
                odd.append(f'{printable(prefix)}: a link to a folder that is listed elsewhere')
                continue
            seen.add((status.st_dev, status.st_ino))
            if prefix and os.path.exists(os.path.join(path, os.fsencode(NO_MEDIA))):
                continue
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name.startswith(b'.'):
                        continue
                    name, fault = prefix + entry.name, ''
                    try:
                        if entry.is_dir():
                            heapq.heappush(waiting, (entry.is_symlink(), name + b'/', entry.path))
                        elif not name.lower().endswith(endings):
                            continue
                        elif not entry.is_file():
                            fault = 'no file, or a link to nothing'
                        elif b'\n' in name:
                            fault = 'its name holds a line break'
                        else:
                            names.append(name)
                    except OSError as error:  # such as of a link to itself
                        fault = error.strerror
                    if fault:
                        odd.append(f'{printable(name)}: {fault}')
        except OSError as error:
            if not prefix:
                raise FileNotFoundError(f'the folder {os.fspath(folder)!r} cannot be listed: '
                                        f'{error.strerror}') from error
            odd.append(f'{printable(prefix)}: {error.strerror}')
    _warn(f'{printable(folder)}: left out of the list', odd)
    names.sort()
    return NameTable.from_names(names)


class UnreadableImageError(ValueError):
    """An image that is missing, empty, cut off, far too large or not an image at all."""


def read_image(path: str | bytes | os.PathLike) -> np.ndarray:
    """Read an image file to (H, W, 3) uint8 BGR, see :func:`decode_image`.

    Raises:
        UnreadableImageError: The file cannot be opened or decoded; names it.
    """
    try:
        return decode_image(read_bytes(path))
    except UnreadableImageError as error:
        raise UnreadableImageError(f'{printable(path)}: {error}') from error


def image_shape(path: str | os.PathLike) -> tuple[int, int]:
    """(H, W) that :func:`read_image` would give, from the head of the file alone.

    Raises:
        UnreadableImageError: The file cannot be opened or has no such head; names it.
    """
    try:
        with open(path, 'rb') as file, Image.open(file) as image:
            width, height = image.size
            return (width, height) if _orientation(image.getexif()) > 4 else (height, width)
    except Exception as error:  # Pillow's parsers may stumble over a damaged file in any way
        raise UnreadableImageError(f'{printable(path)}: {error}') from error


def read_map(path: str | os.PathLike) -> np.ndarray:
    """The numbers of a label map (H, W), of a PNG that is gray or has a palette.

    Raises:
        UnreadableImageError: It cannot be read, or has colours; names it.
    """
    try:
        with open(path, 'rb') as file, Image.open(file) as image:
            label = np.asarray(image)
            label = label.astype(np.uint8) if label.dtype == bool else label
    except Exception as error:  # as above
        raise UnreadableImageError(f'label map {printable(path)} cannot be read: {error}') \
            from error
    if label.ndim != 2:
        raise UnreadableImageError(f'label map {printable(path)} of shape {label.shape}: it has '
                                   'colours, where one channel of class numbers is needed')
    return label


def read_bytes(path: str | bytes | os.PathLike) -> bytes:
    """The bytes of a file, for :func:`decode_image`.

    Raises:
        UnreadableImageError: It cannot be opened; who knows its name adds that.
    """
    try:
        with open(path, 'rb') as file:
            return file.read()
    except OSError as error:
        raise UnreadableImageError(f'the file cannot be read: {error.strerror}') from error


def read_images(paths: Iterable[str | os.PathLike], unreadable: list[str]
                ) -> Iterator[tuple[int, np.ndarray]]:
    """Place and pixels of every image that can be read; what is wrong with others is added."""
    for place, path in enumerate(paths):
        try:
            image = read_image(path)
        except UnreadableImageError as error:
            unreadable.append(str(error))
        else:
            yield place, image


def warn_unreadable(unreadable: Sequence[str], total: int) -> None:
    """Count and name in the log what was left out of ``total`` images."""
    _warn(f'{len(unreadable)} of {total} images could not be read and are left out', unreadable)


def _warn(what: str, faults: Sequence[str], most: int = 20) -> None:
    if faults:
        more = f'\n  and {len(faults) - most} more' if len(faults) > most else ''
        print_log(f'{what}:' + ''.join(f'\n  {fault}' for fault in faults[:most]) + more,
                  'current', logging.WARNING)


def decode_image(data: bytes | memoryview) -> np.ndarray:
    """Decode an encoded image to three 8-bit channels, as a viewer shows it.

    OpenCV decodes what it can (JPEG with gray, colour or CMYK, PNG with palette, alpha or 16 bits,
    BMP, TIFF, WebP), Pillow the rest (GIF and MPO: their first picture; AVIF). A JPEG that was cut
    off counts as unreadable, although decoders fill it up with gray; what follows the end of its
    picture, such as a phone's clip, does not count. Unreadable is also what has more than
    ``MAX_PIXELS``, or a side above ``MAX_SIDE``, before it can take a worker's memory.

    Args:
        data: The file's bytes.

    Returns:
        (H, W, 3) uint8 image, BGR.

    Raises:
        UnreadableImageError: The bytes are empty, cut off, too large or no known image.
    """
    if len(data) == 0:
        raise UnreadableImageError('the file is empty')
    start = bytes(data[:4])
    orientation, mode = _look_at_head(data)
    if start.startswith(_JPEG_START) and bytes(data[-2:]) != _JPEG_END and not any(
            code == _JPEG_END[1] for code, _ in _jpeg_segments(data)):
        raise UnreadableImageError('the JPEG is cut off: it has no end marker')
    # Of a TIFF, some versions of OpenCV turn it, some do not; all multiply by its alpha.
    if start in _TIFF_STARTS and (orientation > 1 or mode in ('RGBA', 'LAB')):
        return _decode_with_pillow(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8),
                             cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise UnreadableImageError(f'OpenCV cannot decode it: {error}') from error
    if image is None:
        return _decode_with_pillow(data)
    if orientation > 4:
        image = cv2.transpose(image)
    return cv2.flip(image, _FLIPS[orientation]) if orientation in _FLIPS else image


def _look_at_head(data: bytes | memoryview) -> tuple[int, str]:
    """EXIF orientation, 1 (as it stands) to 8, and Pillow's mode; an error if it is too large."""
    try:
        with Image.open(io.BytesIO(data)) as file:
            width, height = file.size
            if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
                raise UnreadableImageError(
                    f'the image is too large: {width} x {height} pixels are more than '
                    f'{MAX_PIXELS}, or a side is above {MAX_SIDE}')
            # Pillow would decode a PNG to look for more.
            plain = file.format == 'PNG' and not _png_has_exif(data)
            return 1 if plain else _orientation(file.getexif()), file.mode
    except UnreadableImageError:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f'the image is too large: {error}') from error
    except Exception:  # not Pillow's to read, or damaged EXIF: the decoder will say what is wrong
        return 1, ''


def _orientation(exif: Image.Exif) -> int:
    found = exif.get(_ORIENTATION)
    return found if found in range(1, 9) else 1


def _jpeg_segments(data: bytes | memoryview) -> Iterator[tuple[int, int]]:
    """Code of each marker and the place after it, to the end of the picture or of the data."""
    at = len(_JPEG_START)
    while marker := _JPEG_MARKER.search(data, at):
        code, at = data[marker.start() + 1], marker.end()
        yield code, at
        if code == _JPEG_END[1]:
            return
        if code not in (0x01, 0xD8) and at + 2 <= len(data):  # which have no length
            at += struct.unpack_from('>H', data, at)[0]


def _png_has_exif(data: bytes | memoryview) -> bool:
    """Whether a chunk holds EXIF: its own, or a text of ImageMagick's."""
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from('>I4s', data, at)
        if kind == b'eXIf' or (kind in (b'tEXt', b'zTXt', b'iTXt') and bytes(
                data[at + 8:at + 29]) == b'Raw profile type exif'):
            return True
        at += 12 + length
    return False


def _decode_with_pillow(data: bytes | memoryview) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as file:
            rgb = np.asarray(ImageOps.exif_transpose(file).convert('RGB'))
    except UnidentifiedImageError as error:  # whose text is the address of our buffer
        raise UnreadableImageError('no known image format') from error
    except Exception as error:  # a damaged file may raise whatever Pillow's parsers stumble over
        raise UnreadableImageError(f'no known image format can be read: {error}') from error
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)


def resize_images(images: Sequence[np.ndarray], size: tuple[int, int]) -> Tensor:
    """Bring images (H_i, W_i, 3) uint8 BGR to one size: (B, 3, H, W) uint8 RGB."""
    batch = np.empty((len(images), *size, 3), np.uint8)
    for row, image in zip(batch, images, strict=True):
        shrinks = image.shape[0] > size[0]
        row[:] = cv2.resize(image, size[::-1],
                            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return torch.from_numpy(batch).permute(0, 3, 1, 2).flip(1)


def write_image(path: Path, image: np.ndarray, *options: int) -> None:
    """Write an image, encoded by the name's end, whole or not at all; the disk is not waited for.

    Args:
        path: File.
        image: (H, W, 3) uint8 BGR, or (H, W).
        *options: Of ``cv2.imencode``.

    Raises:
        ValueError: OpenCV cannot encode it.
    """
    done, code = cv2.imencode(path.suffix, np.ascontiguousarray(image), options)
    if not done:
        raise ValueError(f'{path}: OpenCV cannot encode an image of shape {image.shape} so')
    with replacing(path, sync=False) as partial:
        partial.write_bytes(code.tobytes())

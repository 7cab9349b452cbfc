"""Encoded bytes to pixels, for every kind of file people's folders hold."""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

_JPEG_START, _JPEG_SCAN, _JPEG_END = b'\xff\xd8', b'\xff\xda', b'\xff\xd9'


class UnreadableImageError(ValueError):
    """An image that is missing, empty, cut off or not an image at all."""


def decode_image(data: bytes | memoryview) -> np.ndarray:
    """Decode an encoded image to three 8-bit channels.

    OpenCV decodes what it can (JPEG with gray, colour or CMYK, PNG with palette, alpha or 16 bits,
    BMP, TIFF, WebP), Pillow the rest (GIF: its first frame). Alpha is dropped, EXIF orientation
    applied. A JPEG that was cut off counts as unreadable, although decoders fill it up with gray.

    Args:
        data: The file's bytes.

    Returns:
        (H, W, 3) uint8 image, BGR.

    Raises:
        UnreadableImageError: The bytes are empty, cut off or no known image.
    """
    if len(data) == 0:
        raise UnreadableImageError('the file is empty')
    if bytes(data[:2]) == _JPEG_START:
        whole = bytes(data)
        if whole.rfind(_JPEG_END) <= whole.rfind(_JPEG_SCAN):
            raise UnreadableImageError('the JPEG is cut off: it has no end marker')
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise UnreadableImageError(f'OpenCV cannot decode it: {error}') from error
    if image is None:
        image = _decode_with_pillow(data)
    return image


def read_image(path: str) -> np.ndarray:
    """Read an image file to (H, W, 3) uint8 BGR.

    Raises:
        UnreadableImageError: The file cannot be opened or decoded.
    """
    try:
        with open(path, 'rb') as file:
            data = file.read()
    except OSError as error:
        raise UnreadableImageError(f'the file cannot be read: {error.strerror}') from error
    return decode_image(data)


def _decode_with_pillow(data: bytes | memoryview) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as file:
            rgb = np.asarray(file.convert('RGB'))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError,
            ValueError) as error:
        raise UnreadableImageError(f'no known image format: {error}') from error
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)

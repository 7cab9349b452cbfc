"""Images, folders, videos and arrays as frames."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from clasp_mm.datasets.images import IMAGE_SUFFIXES, UnreadableImageError, list_files, read_image
from clasp_mm.utils.files import printable

_CHUNK_BYTES = 1 << 28  # of images beyond a batch
_CHUNK_BATCHES = 4  # among which equal sizes are sought
_COUNTED = ('.mp4', '.mov', '.avi')  # of others OpenCV tells the duration, as frames
_NOT_COUNTED = 2  # frames by which the header of a whole video may be off
VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm')

Given = str | os.PathLike | np.ndarray


@dataclass(frozen=True)
class Frame:
    """One picture of the input.

    Attributes:
        file: Name of its file, relative to the folder that was given; its place in the input, six
            digits, of an array.
        index: Number of the frame in a video; None of an image.
        image: (H, W, 3) uint8, BGR.
        rate: Frames of the video in a second.
    """

    file: str
    index: int | None
    image: np.ndarray
    rate: float = 25.

    @property
    def stem(self) -> str:
        """Name for what is written about it."""
        number = '' if self.index is None else f'_{self.index:06d}'
        return f'{Path(self.file).with_suffix("")}{number}'


def find_inputs(images: Given | Iterable[Given]) -> dict[str, Path | np.ndarray]:
    """Name -> path or pixels of every image and video, folders searched.

    Args:
        images: A path, an array (H, W, 3) or (N, H, W, 3), or several; of paths, images, folders
            (with all below them, see :mod:`clasp_mm.datasets.images`) and videos.

    Raises:
        FileNotFoundError: There is nothing, or nothing in a folder. Where only some of several
            paths are missing, they are left for :func:`read_frames` to refuse.
        TypeError: It is anything else.
        ValueError: Two have one name, one is given twice, or an array is no picture.
    """
    if isinstance(images, str | os.PathLike) or not isinstance(images, Iterable) or (
            isinstance(images, np.ndarray) and images.ndim == 3):
        images = [images]
    images = list(images)
    for given in images:
        if not isinstance(given, str | os.PathLike | np.ndarray):
            raise TypeError(f'an image of type {type(given).__name__}: give a path or an array '
                            '(H, W, 3) of uint8, BGR, or several of those')
    paths = [Path(given) for given in images if not isinstance(given, np.ndarray)]
    if len(paths) == len(images) and not any(path.exists() for path in paths):
        raise FileNotFoundError('no image, folder or video '
                                + (f'at {paths[0]}' if paths else 'is given'))
    files: dict[str, Path | np.ndarray] = {}
    for place, given in enumerate(images):
        if isinstance(given, np.ndarray):
            found = {f'{place:06d}': _checked(given, place)}
        elif (folder := Path(given)).is_dir():
            suffixes = (*IMAGE_SUFFIXES, *VIDEOS)
            found = {name: folder / name for name in list_files(folder, suffixes)}
            if not found:
                raise FileNotFoundError(f'no image or video below {given}: names must end in '
                                        f'{" ".join(suffixes)}')
        else:
            found = {folder.name: folder}
        for name, one in found.items():
            if name in files:
                both = (files[name], one)
                if all(isinstance(source, Path) for source in both) and len(
                        set(map(os.path.realpath, both))) == 1:
                    raise ValueError(f'{one} is given twice')
                raise ValueError(f'{files[name]} and {one} would both be written as {name}: run '
                                 'them apart')
            files[name] = one
    return files


def read_frames(name: str, source: Path | np.ndarray) -> Iterator[Frame]:
    """The frames of a video, or the one image of a file or array.

    Raises:
        UnreadableImageError: If it cannot be read; names it. Of a video that is damaged or cut,
            and whose form counts its frames (mp4, mov, avi), it comes after those that can be.
    """
    if isinstance(source, np.ndarray):
        yield Frame(name, None, source)
    elif source.suffix.lower() not in VIDEOS:
        yield Frame(name, None, read_image(source))
    else:
        with _video(source) as video:
            rate, index = video.get(cv2.CAP_PROP_FPS) or 25., 0
            number = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
            while (image := video.read()[1]) is not None:
                yield Frame(name, index, image, rate)
                index += 1
        if not index:
            raise UnreadableImageError(f'{source}: a video without a frame that OpenCV can read')
        if source.suffix.lower() in _COUNTED and index < number - _NOT_COUNTED:
            raise UnreadableImageError(f'{source}: {index} of {number} frames could be read')


def count_frames(source: Path | np.ndarray) -> int:
    """Frames of a video as its header says, 0 where it cannot be read; 1 of an image."""
    if isinstance(source, np.ndarray) or source.suffix.lower() not in VIDEOS:
        return 1
    try:
        with _video(source) as video:
            return max(0, int(video.get(cv2.CAP_PROP_FRAME_COUNT)))
    except UnreadableImageError:
        return 0


def work_parts(files: Mapping[str, Path | np.ndarray], batch_size: int) -> list[list[str]]:
    """Names of files in what one process does in one go: some images, or a video."""
    parts: list[list[str]] = []
    room = 0
    for name, source in files.items():
        video = isinstance(source, Path) and source.suffix.lower() in VIDEOS
        if video or not room:
            parts.append([])
            room = 1 if video else _CHUNK_BATCHES * batch_size
        parts[-1].append(name)
        room -= 1
    return parts


def take_chunk(frames: Iterator[Frame], batch_size: int) -> list[Frame]:
    """The next frames: a batch, and up to four while they are small, to find equal sizes among."""
    chunk = list(islice(frames, batch_size))
    while batch_size > 1 and 0 < len(chunk) < _CHUNK_BATCHES * batch_size and sum(
            frame.image.nbytes for frame in chunk) < _CHUNK_BYTES:
        if not (more := list(islice(frames, 1))):
            break
        chunk += more
    return chunk


def no_address(path: Path) -> str:
    """A path for OpenCV, which takes what stands before a colon for the scheme of an address."""
    return os.path.join(os.curdir, path)


@contextmanager
def _video(path: Path) -> Iterator[cv2.VideoCapture]:
    if printable(path) != str(path):  # OpenCV ends the process
        raise UnreadableImageError(f'{printable(path)}: a video whose name is no UTF-8: rename it')
    video = cv2.VideoCapture(no_address(path))
    try:
        if not video.isOpened():
            raise UnreadableImageError(f'{path}: no video that OpenCV can read')
        yield video
    finally:
        video.release()


def _checked(image: np.ndarray, place: int) -> np.ndarray:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f'image {place} has shape {image.shape} and type {image.dtype}: a colour '
                         'image (H, W, 3) of uint8, BGR, with pixels is needed')
    return image

"""Pictures, videos and plain data of what was found."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from clasp_mm.datasets.images import write_image
from clasp_mm.utils.files import printable, replacing

from .inputs import VIDEOS, Frame, no_address


class Pictures(ExitStack):
    """A folder of drawn images and videos, under the names of their sources; a context manager.

    A video is whole, or not there, once a frame of another file comes or the context is left.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        super().__init__()
        self.folder = Path(folder)
        self._video = ''
        self._writer: cv2.VideoWriter | None = None

    def write(self, frame: Frame, picture: np.ndarray, stem: str) -> None:
        """Write a picture of a frame: to its video if ``stem`` is the frame's, else as an image."""
        if frame.index is None or stem != frame.stem:
            write_image(self.folder / f'{stem}.jpg', picture)
            return
        if self._video != frame.file:
            self.close()
            self._open(frame, picture)
        self._writer.write(picture)

    def _open(self, frame: Frame, picture: np.ndarray) -> None:
        target = (self.folder / frame.file).with_suffix('.mp4')
        if printable(target) != str(target):  # OpenCV ends the process
            raise ValueError(f'{printable(target)} is no name in UTF-8, which a video needs')
        partial_file = self.enter_context(replacing(target))
        writing = Path(f'{partial_file}.mp4')  # OpenCV chooses the container by the name's end
        writer = cv2.VideoWriter(no_address(writing), cv2.VideoWriter_fourcc(*'mp4v'), frame.rate,
                                 picture.shape[1::-1])

        def finish() -> None:
            writer.release()
            os.replace(writing, partial_file)
        self.callback(finish)
        self._video, self._writer = frame.file, writer


def check_stems(names: Iterable[str], of_frames: bool = False) -> None:
    """Refuse files whose pictures would have one name.

    Args:
        names: The files.
        of_frames: Each frame of a video has files of its own: a label map, or pictures of crops.

    Raises:
        ValueError: Two names differ in their ends alone, or one is that of a video's frame.
    """
    stems: dict[Path, str] = {}
    for name in names:
        other = stems.setdefault(Path(name).with_suffix(''), name)
        if other != name:
            raise ValueError(f'{other} and {name} would both be written as {Path(name).stem}.jpg: '
                             'run them apart')
    for stem, name in stems.items() if of_frames else ():
        frame = re.fullmatch(r'(?s)(.+)_[0-9]{6,}', str(stem))
        video = Path(stems.get(Path(frame[1]), '') if frame else '')
        if video.suffix.lower() in VIDEOS and Path(name).suffix.lower() not in VIDEOS:
            raise ValueError(f'what is found in {name} and in a frame of {video} would both be '
                             f'written as {stem.name}: run them apart')


def check_overwrites(folder: Path, names: Iterable[str], read: Iterable[Any]) -> None:
    """Refuse to write pictures, label maps or predictions over what is read.

    Args:
        folder: Where they are written.
        names: The files that are drawn.
        read: Paths; anything else is passed over.

    Raises:
        ValueError: One would be overwritten.
    """
    written = [folder / 'predictions.json']
    for name in names:
        stem = (folder / name).with_suffix('')
        end = '.mp4' if Path(name).suffix.lower() in VIDEOS else '.jpg'
        written += [f'{stem}{end}', f'{stem}_labels.png']
    kept = {os.path.realpath(path) for path in read if isinstance(path, str | os.PathLike)}
    if not kept.isdisjoint(map(os.path.realpath, written)):
        raise ValueError(f'{folder} holds the inputs, which would be overwritten: name another '
                         'folder')


def plain(entry: Mapping[str, Any], image: np.ndarray, stem: str, folder: Path) -> dict[str, Any]:
    """An entry for JSON: arrays as lists, those with one integer per pixel as PNG files."""
    out = {}
    for key, value in entry.items():
        if not isinstance(value, np.ndarray):
            out[key] = value
        elif value.shape == image.shape[:2] and value.dtype.kind in 'ui':
            path = folder / f'{stem}_{key}.png'
            write_image(path, value.astype(np.uint8))
            out[key] = str(path.relative_to(folder))
        else:
            out[key] = (np.round(value, 3) if value.dtype.kind == 'f' else value).tolist()
    return out

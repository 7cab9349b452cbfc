"""Boxes of people that the caller knows, in a file or in memory."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from clasp_mm.utils.files import printable, read_json, read_text
from clasp_mm.utils.names import first_names

Key = str | tuple[str, int | None]


def check_boxes(boxes: Sequence | np.ndarray, image: np.ndarray) -> np.ndarray:
    """Boxes as (N, 4) float32, each with an area inside the image.

    Args:
        boxes: x1, y1, x2, y2 each, in pixels.
        image: (H, W, 3).

    Raises:
        ValueError: A box is empty, not finite or outside its image, or they are no boxes.
    """
    boxes = _array(boxes)
    bad = ~has_area(boxes, image)
    if bad.any():
        height, width = image.shape[:2]
        raise ValueError(f'box {boxes[bad][0].tolist()} (x1, y1, x2, y2) has no area inside the '
                         f'image of {width}x{height} pixels')
    return boxes


def _array(boxes: Sequence | np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes, np.float32)
    if boxes.size and boxes.shape[-1:] != (4, ):
        raise ValueError(f'boxes of shape {boxes.shape}: x1, y1, x2, y2 of each are needed, (N, 4)')
    return boxes.reshape(-1, 4)


def has_area(boxes: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Which of boxes (N, 4) are finite and cover any of the image (H, W, 3); (N, ) bool."""
    inside = np.minimum(boxes[:, 2:], image.shape[1::-1]) - np.maximum(boxes[:, :2], 0)
    return np.isfinite(boxes).all(1) & (inside > 0).all(1)


def whole(image: np.ndarray) -> np.ndarray:
    """The box (1, 4) of all of an image (H, W, 3)."""
    return np.array([[0, 0, *image.shape[1::-1]]], np.float32)


def crop(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The pixels of an image that a box of :func:`check_boxes` touches."""
    height, width = image.shape[:2]
    left, top = np.floor(np.maximum(box[:2], 0)).astype(int)
    right, bottom = np.ceil(np.minimum(box[2:], (width, height))).astype(int)
    return image[top:bottom, left:right]


def read_boxes(path: str | os.PathLike, min_score: float = 0.3
               ) -> dict[tuple[str, int | None], np.ndarray]:
    """Read boxes of people: a JSON list of ``{"file": ..., "boxes": [[x1, y1, x2, y2], ...]}``.

    With ``"frame"`` an entry is of that frame of a video, without of all its frames. With
    ``"scores"``, boxes below ``min_score`` are left out; with ``"labels"``, those of another class
    than 0, which is the person. Entries of one image add up.

    Returns:
        (file, frame or None) -> (N, 4).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has another form.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'no file of boxes at {path}')
    boxes, entry = {}, None
    try:
        for entry in read_json(path):
            found = _array(entry['boxes'])
            for name in ('scores', 'labels'):
                if len(entry.get(name, found)) != len(found):
                    raise ValueError(f'{len(entry[name])} {name} of {len(found)} boxes')
            keep = np.asarray(entry.get('scores', np.ones(len(found)))) >= min_score
            keep &= np.asarray(entry.get('labels', np.zeros(len(found))), int) == 0
            key = entry['file'], entry.get('frame')
            boxes[key] = np.concatenate([boxes.get(key, found[:0]), found[keep]])
        return boxes
    except (ValueError, TypeError, KeyError, IndexError) as error:
        where = '' if entry is None else f' in the entry {json.dumps(entry):.80}'
        raise ValueError(
            f'{path} is no list of {{"file": "a.jpg", "boxes": [[x1, y1, x2, y2], ...]}}: '
            f'{type(error).__name__} {error}{where}') from error


class KnownBoxes:
    """The boxes of each frame, however the caller gave them.

    Args:
        boxes: A JSON file of :func:`read_boxes`; or a mapping from a file's name, or from (name,
            number of the frame), to (N, 4); or a sequence with (N, 4) for each of the images. None
            in place of (N, 4) is an image whose people are not known.
        names: Names of all files, in order.
        min_score: See :func:`read_boxes`.

    Attributes:
        left_out: Boxes of a file that have no area inside their image, so far.
        skipped: File -> reason, of those without boxes that ``skipped_images.txt`` beside the file
            of boxes names: what found the boxes could not read them.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file has another form, there are other numbers of boxes and images, or
            nothing is known of a file.
    """

    def __init__(self, boxes: str | os.PathLike | Mapping[Key, np.ndarray | None]
                 | Sequence[np.ndarray | None], names: Sequence[str],
                 min_score: float = 0.3) -> None:
        self.source = 'boxes'
        self.left_out: list[str] = []
        self._of_a_file = isinstance(boxes, str | os.PathLike)
        if self._of_a_file:
            self.source, boxes = str(boxes), read_boxes(boxes, min_score)
        elif not isinstance(boxes, Mapping):
            if len(boxes) != len(names):
                raise ValueError(f'boxes of {len(boxes)} images for {len(names)} images: give (N, '
                                 '4) for each image, in a list')
            boxes = dict(zip(names, boxes, strict=True))
        self.boxes = {key if isinstance(key, tuple) else (key, None): value
                      for key, value in boxes.items()}
        known = {file for file, _ in self.boxes}
        missing = [name for name in names if name not in known]
        listed = _read_skipped(Path(self.source), names) if self._of_a_file and missing else {}
        self.skipped = {name: listed[name] for name in missing if name in listed}
        if unknown := [name for name in missing if name not in self.skipped]:
            raise self._unknown(first_names(unknown))

    def of(self, file: str, index: int | None, image: np.ndarray) -> np.ndarray | None:
        """The boxes (N, 4) of a file, or of a frame of a video, which is ``image``; see above.

        Raises:
            ValueError: Nothing is known of it, or the caller's own are no boxes inside of it.
        """
        number = '' if index is None else f', frame {index}'
        for key in ((file, index), (file, None)):
            if key not in self.boxes:
                continue
            boxes = self.boxes[key]
            if self._of_a_file:
                keep = has_area(boxes, image)
                self.left_out += [f'{file}{number} {box.tolist()}' for box in boxes[~keep]]
                boxes = boxes[keep]
            return None if boxes is None else check_boxes(boxes, image)
        raise self._unknown(f'{file}{number}')

    def _unknown(self, what: str) -> ValueError:
        return ValueError(f'{self.source} says nothing about {what}; give it "boxes": [] if '
                          'nobody is there')


def _read_skipped(boxes: Path, names: Sequence[str]) -> dict[str, str]:
    """Why each of some files was skipped, of those named so beside a file of boxes.

    A line has a path or a name, and a reason; of names that may be meant the longest is.
    """
    path = boxes.with_name('skipped_images.txt')
    if not path.is_file():
        return {}
    shown, skipped = {printable(name): name for name in names}, {}
    for line in read_text(path).split('\n'):
        parts = line.partition(': ')[0].split('/')
        ends = ('/'.join(parts[start:]) for start in range(len(parts)))
        if name := next((shown[end] for end in ends if end in shown), None):
            skipped[name] = f'{line}, when {boxes.name} was written'
    return skipped

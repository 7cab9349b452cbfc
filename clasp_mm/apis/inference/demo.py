"""Run a fine-tuned model over images, folders and videos; write pictures and predictions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from clasp_mm.apis.reid_index import ReIDIndex
from clasp_mm.files import replacing

IMAGES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm')


@dataclass(frozen=True)
class Frame:
    """One picture of the input.

    Attributes:
        file: Name of its file, relative to the folder that was given.
        index: Number of the frame in a video; None of an image.
        image: (H, W, 3) uint8, BGR.
    """

    file: str
    index: int | None
    image: np.ndarray

    @property
    def stem(self) -> str:
        """Name for what is written about it."""
        number = '' if self.index is None else f'_{self.index:06d}'
        return f'{Path(self.file).with_suffix("")}{number}'


def run_demo(task: str, inputs: Sequence[str | os.PathLike], config: str, checkpoint: str,
             out_dir: str | os.PathLike, boxes: str | None = None, min_score: float = 0.3,
             device: str = 'cpu', gallery: str | os.PathLike | None = None,
             query: tuple[str, Sequence[float]] | None = None) -> list[dict[str, Any]]:
    """Predict, draw and write.

    Below ``out_dir`` every image becomes a picture, every video a video, both under their own
    names, and ``predictions.json`` lists for each frame its file, its number in a video (else
    null) and the arrays of the task; label maps go to ``NAME_labels.png``, one index a pixel.

    Args:
        task: pose, parsing, detection, attribute, reid or person_search.
        inputs: Images, folders (with all below them) and videos.
        config: Config of the model.
        checkpoint: Checkpoint of its training.
        out_dir: Where results go.
        boxes: For pose: JSON file with the boxes of the people in the form of a detection demo's
            ``predictions.json``. None takes every image as one person.
        min_score: Least score of a keypoint, box or attribute that is drawn, and of boxes that are
            taken from ``boxes``.
        device: Where the model runs.
        gallery: For reid: folder of the people to search among.
        query: For person_search: an image, and the box (x1, y1, x2, y2 in pixels) of the person to
            search for.

    Returns:
        What ``predictions.json`` holds.

    Raises:
        FileNotFoundError: An input, or any image in it, is not there.
        ValueError: An input cannot be read, two have one name, or ``boxes`` does not fit.
    """
    files = find_inputs(inputs)
    module = import_module(f'clasp_mm.apis.inference.{task}')
    known_boxes = None if boxes is None else read_boxes(boxes, min_score)
    model = module.load(config, checkpoint, device)
    index = None if gallery is None else ReIDIndex.build(model, gallery)
    searched = None if query is None else module.embed(
        model, next(read_frames(query[0], Path(query[0]))).image, query[1])
    meta = model.dataset_meta
    named = dict(classes=meta.get('classes'), min_score=min_score)
    drawing = dict(pose=dict(meta=meta, min_score=min_score), detection=named, attribute=named,
                   parsing={}, reid=dict(root=gallery), person_search=dict(min_score=min_score))
    draw = partial(module.draw, **drawing[task])
    out_dir, entries = Path(out_dir), []
    total = sum(count_frames(path) for path in files.values())
    with tqdm(total=total, unit='img', desc=task) as bar:
        for name, path in files.items():
            with ExitStack() as stack:
                write = _writer(out_dir / name, path, stack)
                for frame in read_frames(name, path):
                    options = {}
                    if known_boxes is not None:
                        options['boxes'] = [_boxes_of(frame, known_boxes, boxes)]
                    if index is not None:
                        options['index'] = index
                    if searched is not None:
                        options['query'] = searched
                    result = module.predict(model, [frame.image], **options)[0]
                    write(draw(frame.image, result))
                    entries.append(dict(file=frame.file, frame=frame.index,
                                        **_plain(result, frame, out_dir)))
                    bar.update()
    with replacing(out_dir / 'predictions.json') as partial_file:
        partial_file.write_text(json.dumps(entries, indent=1))
    return entries


def find_inputs(inputs: Sequence[str | os.PathLike]) -> dict[str, Path]:
    """Name -> path of every image and video, folders searched; see :func:`run_demo`."""
    files: dict[str, Path] = {}
    for given in map(Path, inputs):
        if not given.exists():
            raise FileNotFoundError(f'no image, folder or video at {given}')
        found = sorted(path for path in given.rglob('*') if path.suffix.lower() in (
            *IMAGES, *VIDEOS)) if given.is_dir() else [given]
        if not found:
            raise FileNotFoundError(f'no image or video below {given}: names must end in '
                                    f'{" ".join((*IMAGES, *VIDEOS))}')
        for path in found:
            name = str(path.relative_to(given)) if given.is_dir() else path.name
            if name in files:
                raise ValueError(f'{files[name]} and {path} would both be written as {name}: run '
                                 'them apart')
            files[name] = path
    return files


def read_frames(name: str, path: Path) -> Iterator[Frame]:
    """The frames of a video, or the one image of a file.

    Raises:
        ValueError: If it cannot be read.
    """
    if path.suffix.lower() not in VIDEOS:
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) \
            if path.stat().st_size else None
        if image is None:
            raise ValueError(f'{path} is no image that can be read')
        yield Frame(name, None, image)
        return
    with _video(path) as video:
        index = 0
        while (image := video.read()[1]) is not None:
            yield Frame(name, index, image)
            index += 1


def count_frames(path: Path) -> int:
    """Frames of a video as its header says; 1 of an image."""
    if path.suffix.lower() not in VIDEOS:
        return 1
    with _video(path) as video:
        return max(0, int(video.get(cv2.CAP_PROP_FRAME_COUNT)))


def read_boxes(path: str | os.PathLike, min_score: float = 0.3
               ) -> dict[tuple[str, int | None], np.ndarray]:
    """Read boxes of people: a JSON list of ``{"file": ..., "boxes": [[x1, y1, x2, y2], ...]}``.

    With ``"frame"`` an entry is of that frame of a video, without of all its frames. With
    ``"scores"``, boxes below ``min_score`` are left out.

    Returns:
        (file, frame or None) -> (N, 4).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has another form.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'no file of boxes at {path}')
    try:
        boxes = {}
        for entry in json.loads(Path(path).read_text()):
            found = np.asarray(entry['boxes'], np.float32).reshape(-1, 4)
            keep = np.asarray(entry.get('scores', np.ones(len(found)))) >= min_score
            boxes[entry['file'], entry.get('frame')] = found[keep]
        return boxes
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ValueError(
            f'{path} is no list of {{"file": "a.jpg", "boxes": [[x1, y1, x2, y2], ...]}}: '
            f'{type(error).__name__} {error}') from error


def _boxes_of(frame: Frame, boxes: Mapping, source: str) -> np.ndarray:
    for key in ((frame.file, frame.index), (frame.file, None)):
        if key in boxes:
            return boxes[key]
    number = '' if frame.index is None else f', frame {frame.index}'
    raise ValueError(f'{source} says nothing about {frame.file}{number}; give it "boxes": [] if '
                     'nobody is there')


@contextmanager
def _video(path: Path) -> Iterator[cv2.VideoCapture]:
    video = cv2.VideoCapture(str(path))
    try:
        if not video.isOpened():
            raise ValueError(f'{path} is no video that OpenCV can read')
        yield video
    finally:
        video.release()


def _writer(target: Path, source: Path, stack: ExitStack) -> Callable[[np.ndarray], None]:
    """Return what takes the drawn frames; a video is whole, or not there, once ``stack`` closes."""
    if source.suffix.lower() not in VIDEOS:
        def write_image(picture: np.ndarray) -> None:
            _write_image(target.with_suffix('.jpg'), picture)
        return write_image
    with _video(source) as video:
        rate = video.get(cv2.CAP_PROP_FPS) or 25.
    partial_file = stack.enter_context(replacing(target.with_suffix('.mp4')))
    # OpenCV chooses the container by the name's end.
    writing = partial_file.with_suffix('.mp4')
    writer: cv2.VideoWriter | None = None

    def finish() -> None:
        if writer is not None:
            writer.release()
            os.replace(writing, partial_file)

    def write(picture: np.ndarray) -> None:
        nonlocal writer
        if writer is None:
            writer = cv2.VideoWriter(str(writing), cv2.VideoWriter_fourcc(*'mp4v'), rate,
                                     picture.shape[1::-1])
        writer.write(picture)

    stack.callback(finish)
    return write


def _write_image(path: Path, image: np.ndarray) -> None:
    done, data = cv2.imencode(path.suffix, image)
    if not done:
        raise ValueError(f'cannot encode {path}')
    with replacing(path, sync=False) as partial_file:
        partial_file.write_bytes(data.tobytes())


def _plain(result: Mapping[str, np.ndarray], frame: Frame, out_dir: Path) -> dict[str, Any]:
    """Arrays as lists for JSON; those with one integer per pixel as files."""
    plain = {}
    for key, value in result.items():
        value = np.asarray(value)
        if value.shape == frame.image.shape[:2] and value.dtype.kind in 'ui':
            path = out_dir / f'{frame.stem}_{key}.png'
            _write_image(path, value.astype(np.uint8))
            plain[key] = str(path.relative_to(out_dir))
        else:
            plain[key] = np.round(value, 3).tolist() if value.dtype.kind == 'f' else value.tolist()
    return plain

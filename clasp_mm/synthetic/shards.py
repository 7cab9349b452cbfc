"""Draw many images: over several processes, whole or resumed after a kill."""

import hashlib
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.progress import track

from clasp_mm.datasets.images import write_image
from clasp_mm.utils.files import locked, read_json, sweep, write_json
from clasp_mm.utils.processes import end_with_parent, usable_cores


def draw_in_shards(marker: Path, settings: dict, count: int, shard: int,
                   draw: Callable[[int], dict], finish: Callable[[list[dict]], None],
                   owned: Sequence[str], workers: int | None, progress: bool) -> None:
    """Draw images 0 to ``count`` - 1, then write what lists them.

    The files do not depend on the number of workers. What is already complete is left alone;
    after a kill the next call goes on with the first shard that is missing. Of two processes one
    draws, and the other waits for it.

    Args:
        marker: File in the folder of all others that says what was asked for, and whether it is
            all there.
        settings: What was asked for, as JSON can hold it.
        count: Number of images.
        shard: Images that are drawn, and after a kill redrawn, together.
        draw: Writes the files of one image and returns what ``finish`` needs of it, as JSON can
            hold it. It is sent to other processes.
        finish: Writes the annotation files from the rows of all images.
        owned: Paths below the folder that only this drawing writes.
        workers: Processes; None takes one per usable core. More than one are spawned, so a
            script that calls this needs the usual ``if __name__ == '__main__'``.
        progress: Show a progress bar.

    Raises:
        ValueError: ``workers`` < 1, or one of ``owned`` is there and was not written by this
            function with the same settings.
    """
    if workers is not None and workers < 1:
        raise ValueError(f'workers must be at least 1, got {workers}')
    folder, parts = marker.parent, parts_of(marker)
    with locked(folder, f'another process draws {folder}: waiting for it'):
        if _is_complete(marker, settings):
            shutil.rmtree(parts, ignore_errors=True)  # a kill may have left it
            return
        there = [path for path in owned if (folder / path).exists()]
        if there and not marker.exists():
            raise ValueError(f'{folder} holds {", ".join(there)}, not written by this function '
                             f'(there is no {marker.name}); give a new folder')
        write_json(marker, {'settings': settings, 'complete': False}, indent=2)
        for path in owned:
            for inside, _, _ in os.walk(folder / path):
                sweep(inside)
        shards = [range(start, min(start + shard, count)) for start in range(0, count, shard)]
        missing = [images for images in shards if not _part(parts, images).exists()]
        with mapper(workers, len(missing)) as run:
            results = zip(missing, run(partial(_draw_range, draw), missing), strict=True)
            if progress:
                results = track(results, f'{marker.stem}: drawing {count} images',
                                total=len(missing))
            for images, rows in results:
                write_json(_part(parts, images), rows, indent=None)
        finish([row for images in shards for row in read_json(_part(parts, images))])
        write_json(marker, {'settings': settings, 'complete': True}, indent=2)
        shutil.rmtree(parts)


def parts_of(marker: Path) -> Path:
    """Folder of what :func:`draw_in_shards` keeps until all is drawn."""
    return marker.with_name(f'.parts_{marker.stem}')


def _part(parts: Path, images: range) -> Path:
    return parts / f'{images.start:07d}.json'


def _draw_range(draw: Callable[[int], dict], images: range) -> list[dict]:
    return [draw(index) for index in images]


def _is_complete(marker: Path, settings: dict) -> bool:
    """Whether the marker says that all is there; an error if it was of other settings."""
    if not marker.exists():
        return False
    content = read_json(marker)
    other = content['settings']
    differ = [f'{name} is {other.get(name)!r} there, {value!r} here'
              for name, value in settings.items() if other.get(name) != value]
    if differ:
        raise ValueError(f'{marker.parent} holds other synthetic people: {"; ".join(differ)}; give '
                         'another folder or delete that one')
    return content['complete']


@contextmanager
def mapper(workers: int | None, tasks: int) -> Iterator[Callable]:
    """``map`` over this process or several, in order; None takes one per usable core."""
    workers = min(workers or usable_cores(), tasks)
    if workers <= 1:
        yield map
        return
    context = multiprocessing.get_context('spawn')  # a fork would inherit torch's threads
    pool = ProcessPoolExecutor(workers, context, _begin_worker)
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    end_with_parent()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def write_picture(path: Path, image: np.ndarray, *options: int) -> None:
    """:func:`write_image` of (H, W, 3) RGB or (H, W); a JPEG in quality 92."""
    if path.suffix == '.jpg':
        options = (cv2.IMWRITE_JPEG_QUALITY, 92)
    write_image(path, image[..., ::-1] if image.ndim == 3 else image, *options)


def drawing_code() -> str:
    """Twelve digits that change with the code that draws people and scenes."""
    source = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob('*.py')):
        if path.stem not in ('__init__', 'captions', 'contact_sheet', 'shards', 'writers'):
            source.update(path.read_bytes())
    return source.hexdigest()[:12]

"""Every task's inference behind one call."""

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from torch import nn
from tqdm import tqdm

from clasp_mm.compat import load_file
from clasp_mm.datasets.images import UnreadableImageError
from clasp_mm.pseudo_labels.clip_model import state_digest
from clasp_mm.utils.device import computes_in_bfloat16, pick_device
from clasp_mm.utils.files import printable, read_json, write_json, write_text
from clasp_mm.utils.names import did_you_mean
from clasp_mm.utils.shards import Blocks, digest
from clasp_mm.zoo.get_model import check_task
from clasp_mm.zoo.index import TASKS, model_task

from .boxes import Key, KnownBoxes, crop, whole
from .gallery import ReIDIndex
from .inputs import Frame, Given, count_frames, find_inputs, read_frames, take_chunk, work_parts
from .loading import find_model
from .outputs import Pictures, check_overwrites, check_stems, plain

INFERENCES = ('pose', 'parsing', 'detection', 'attribute', 'reid', 'person_search')
_CROPS = ('attribute', 'reid', 'parsing')  # their boxes are cut out, each becomes an image
_OPTIONS = dict(boxes=('pose', 'person_search', *_CROPS), gallery=('reid', ), camera=('reid', ),
                query=('person_search', ))
_GPU_BATCHES = 4  # a task's usual batch is this much larger on a GPU

Boxes = str | os.PathLike | Mapping[Key, np.ndarray | None] | Sequence[np.ndarray | None]


class Predictions(list):
    """What was found: a dict for each frame, or for each box of a task of crops.

    Attributes:
        skipped: File -> reason, of inputs that could not be read, wholly or in part.
    """

    def __init__(self, entries: Sequence[dict[str, Any]], skipped: Mapping[str, str]) -> None:
        super().__init__(entries)
        self.skipped = dict(skipped)


class Inferencer:
    """A fine-tuned model, loaded once, for any number of images; see :func:`inference`.

    Args:
        task: One of ``INFERENCES``.
        config: The model's config, or its name in the zoo; by default what lies beside the
            checkpoint, as of published files and runs, or without one the zoo's model of the task.
        checkpoint: A checkpoint of its training, or published; by default the zoo's of that name.
        device: Where it runs; by default on the GPU where there is one.
        amp: Its precision, see :func:`clasp_mm.utils.device.precision`; what it finds is float32.

    Attributes:
        model: The host's model.
        skipped: Skipped inputs of the last call; see :class:`Predictions`.

    Raises:
        FileNotFoundError: There is no such config or checkpoint.
        ValueError: There is no such task, name or device, or config or checkpoint are of another
            task.

    Example:
        >>> model = Inferencer('reid', 'reid.py', 'reid.pth')
        >>> found = model('people/0.jpg')
        >>> found[0]['file'], found[0]['feature'].shape
        ('0.jpg', (256,))
    """

    def __init__(self, task: str, config: str | os.PathLike | None = None,
                 checkpoint: str | os.PathLike | None = None,
                 device: str | torch.device | None = None, amp: bool | None = None) -> None:
        if task not in INFERENCES:
            raise ValueError(f'no task {task!r}: {", ".join(INFERENCES)}'
                             + did_you_mean(task, INFERENCES))
        self.task = task
        self.skipped: dict[str, str] = {}
        self._module = import_module(f'clasp_mm.inferencers.{task}')
        cfg, weights = find_model(TASKS[task], config, checkpoint)
        self._config = digest(cfg.to_dict())
        self.model = self._load(cfg, weights, pick_device(device))
        self.model.amp = amp

    def __call__(self, images: Given | Iterable[Given], **options: Any) -> Predictions:
        """As :func:`inference`, which documents the options."""
        return Predictions(list(self.stream(images, **options)), self.skipped)

    def stream(self, images: Given | Iterable[Given], *, boxes: Boxes | None = None,
               out_dir: str | os.PathLike | None = None, min_score: float = 0.3,
               batch_size: int | None = None,
               gallery: str | os.PathLike | ReIDIndex | None = None, camera: int | None = None,
               query: np.ndarray | tuple[Given, Sequence[float]] | None = None,
               progress: bool = False, rank: int = 0, world_size: int = 1
               ) -> Iterator[dict[str, Any]]:
        """As calling it, an entry at a time, so that a long video's need not all be kept."""
        for name, value in dict(boxes=boxes, gallery=gallery, camera=camera, query=query).items():
            if value is not None and self.task not in _OPTIONS[name]:
                raise ValueError(f'{name}= goes with {", ".join(_OPTIONS[name])}, not with '
                                 f'{self.task}')
        files = find_inputs(images)
        known = None if boxes is None else KnownBoxes(boxes, list(files), min_score)
        options = self._options(gallery, camera, query, progress)
        device = next(self.model.parameters()).device
        size = batch_size
        if size is None:
            size = self._module.BATCH * (_GPU_BATCHES if device.type == 'cuda' else 1)
        blank: set[str] = set()
        draw = None if out_dir is None else self._draw(min_score, options, blank)
        folder, parts = Path(out_dir or ''), work_parts(files, max(1, size))
        if out_dir is not None:
            check_stems(files, self.task == 'parsing' or (
                known is not None and self.task in _CROPS))
            index = options.get('index')
            check_overwrites(folder, () if draw is None else files, [
                *files.values(), boxes, *(() if query is None else query[:1]),
                *(Path(index.root, name) for name in (index.names if index else ()))])
        shares = None
        if out_dir is not None and world_size > 1:
            key = digest(self.task, self._config, state_digest(self.model),
                         computes_in_bfloat16(device, self.model.amp), files,
                         list(map(_stamp, files.values())), min_score, size,
                         known and (known.boxes, known.skipped), options)
            shares = Blocks(folder / f'.{key}.blocks', len(parts), rank, world_size)
        own = range(rank, len(parts), world_size) if shares is None else shares.own()
        self.skipped, done = {}, []
        with tqdm(total=sum(count_frames(files[name]) for part in own for name in parts[part])
                  if progress else None, unit='img', desc=self.task, disable=not progress) as bar:
            for part in own:
                before = len(self.skipped), known and len(known.left_out)
                entries, found = [], 0
                frames = self._frames({name: files[name] for name in parts[part]}, known)
                with Pictures(folder) as pictures:
                    while chunk := take_chunk(frames, max(1, size)):
                        for frame, stem, image, entry in self._predict(
                                chunk, known, options, size):
                            if draw is not None:
                                pictures.write(frame, draw(image, entry), stem)
                            if out_dir is not None:
                                entries.append(plain(entry, image, stem, folder))
                            found += 1
                            yield entry
                        bar.update(len(chunk))
                done.append(dict(
                    files=len(parts[part]), found=found, entries=entries,
                    skipped=dict(list(self.skipped.items())[before[0]:]),
                    left_out=known.left_out[before[1]:] if known else []))
                if shares is not None:
                    shares.write(part, json.dumps(done.pop()).encode())
        _warn(f'{len(blank)} images of the gallery could not be read and are blank in the pictures',
              sorted(blank))
        if shares is None:
            self._finish(done, out_dir, known)
            return
        with shares.finishing() as paths:
            if paths is not None:
                self._finish(list(map(read_json, paths)), out_dir, known)

    def _finish(self, parts: Sequence[Mapping[str, Any]], out_dir: str | os.PathLike | None,
                known: KnownBoxes | None) -> None:
        """Write and report what all parts have: entries, and what was skipped and left out."""
        number = sum(part['files'] for part in parts)
        self.skipped = {name: why for part in parts for name, why in part['skipped'].items()}
        if self.skipped and len(self.skipped) == number and not any(
                part['found'] for part in parts):
            first = next(iter(self.skipped.values()))
            raise ValueError(first if number == 1 else
                             f'none of {number} images can be read; the first: {first}')
        if out_dir is not None:
            write_json(Path(out_dir, 'predictions.json'),
                       [entry for part in parts for entry in part['entries']])
            listed = Path(out_dir, 'skipped_images.txt')
            if self.skipped:
                write_text(listed, '\n'.join(self.skipped.values()) + '\n')
            else:
                listed.unlink(missing_ok=True)
        _warn(f'{len(self.skipped)} of {number} inputs could not be read, wholly or in part, and '
              'that was skipped', list(self.skipped.values()))
        left_out = [box for part in parts for box in part['left_out']]
        _warn(f'{len(left_out)} boxes of {known and known.source} have no area inside their image '
              'and were left out', left_out)

    def _load(self, cfg: Config, checkpoint: Path, device: torch.device) -> nn.Module:
        title = TASKS[self.task]
        found = model_task(cfg.get('model', {}))
        if found not in (None, title):
            raise ValueError(f'{cfg.filename} is a config of {found}, not of {title}')
        try:
            with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
                return self._module.load(cfg, checkpoint, device)  # hosts change it for good
        except ValueError:
            check_task(load_file(checkpoint), checkpoint, cfg)  # which says it better
            raise

    def _options(self, gallery: Any, camera: int | None, query: Any, progress: bool
                 ) -> dict[str, Any]:
        """What ``predict`` takes beside images and boxes."""
        options: dict[str, Any] = {}
        if camera is not None:
            options['camera'] = camera
        if gallery is not None:
            if not isinstance(gallery, ReIDIndex):
                gallery = (ReIDIndex.load(gallery) if Path(gallery).suffix == '.npz' else
                           ReIDIndex.build(self.model, gallery, progress))
            options['index'] = gallery
        if isinstance(query, np.ndarray):
            options['query'] = query
        elif query is not None:
            found = find_inputs(query[0])
            if len(found) != 1:
                given = f' {query[0]}' if isinstance(query[0], str | os.PathLike) else ''
                raise ValueError(f'the query{given} is {len(found)} images: give one, and the box '
                                 'of the person to search for')
            (name, source), = found.items()
            options['query'] = self._module.embed(
                self.model, next(read_frames(name, source)).image, query[1])
        return options

    def _draw(self, min_score: float, options: Mapping[str, Any], blank: set[str]) -> Any:
        """``draw(image, result)`` of the task; None where there is nothing to draw.

        Why images of the gallery are blank in its pictures goes to ``blank``.
        """
        meta = self.model.dataset_meta
        named = dict(classes=meta.get('classes'), min_score=min_score)
        if self.task == 'reid':
            if 'index' not in options:
                return None
            return partial(self._module.draw, root=options['index'].root, unreadable=blank)
        return partial(self._module.draw, **dict(
            pose=dict(meta=meta, min_score=min_score), detection=named, attribute=named,
            parsing={}, person_search=dict(min_score=min_score))[self.task])

    def _frames(self, files: Mapping[str, Path | np.ndarray], known: KnownBoxes | None
                ) -> Iterator[Frame]:
        """All frames of all files; files that cannot be read are noted in ``skipped``."""
        for name, source in files.items():
            if known is not None and name in known.skipped:
                self.skipped[name] = known.skipped[name]
                continue
            try:
                yield from read_frames(name, source)
            except UnreadableImageError as error:
                self.skipped[name] = str(error)

    def _predict(self, frames: Sequence[Frame], known: KnownBoxes | None,
                 options: Mapping[str, Any], batch_size: int
                 ) -> Iterator[tuple[Frame, str, np.ndarray, dict[str, Any]]]:
        """Frame, name for files about it, pixels and entry of each image or crop."""
        options = dict(options, batch_size=batch_size)
        places = [(frame, frame.stem, frame.image, {}) for frame in frames]
        if known is not None:
            boxes = [known.of(frame.file, frame.index, frame.image) for frame in frames]
            if self.task in _CROPS:
                places = [(frame, f'{frame.stem}_box{number}', crop(frame.image, box),
                           dict(box=box)) for frame, own in zip(frames, boxes, strict=True)
                          for number, box in enumerate(whole(frame.image) if own is None else own)]
            else:
                options['boxes'] = boxes
        results = self._results([image for _, _, image, _ in places], options)
        for (frame, stem, image, box), result in zip(places, results, strict=True):
            if isinstance(result, UnreadableImageError):
                self.skipped[frame.file] = f'{printable(frame.file)}: {result}'
            else:
                yield frame, stem, image, dict(file=frame.file, frame=frame.index, **box, **result)

    def _results(self, images: Sequence[np.ndarray], options: Mapping[str, Any]
                 ) -> list[dict[str, Any] | UnreadableImageError]:
        """What is predicted of each image; where the pipeline refuses one, each alone."""
        try:
            return self._module.predict(self.model, images, **options)
        except UnreadableImageError as error:
            if len(images) == 1:
                return [error]
        results = []
        for place, image in enumerate(images):
            own = dict(options, boxes=[options['boxes'][place]]) if 'boxes' in options else options
            results += self._results([image], own)
        return results


def inference(task: str, images: Given | Iterable[Given],
              config: str | os.PathLike | None = None,
              checkpoint: str | os.PathLike | None = None, *,
              device: str | torch.device | None = None, amp: bool | None = None,
              **options: Any) -> Predictions:
    """Run a fine-tuned model of any task over images.

    ==============  ================================================================================
    task            what an entry holds beside ``file`` and ``frame`` (the number in a video, else
                    None); N people or boxes
    ==============  ================================================================================
    pose            ``boxes`` (N, 4), ``keypoints`` (N, K, 2), ``keypoint_scores`` (N, K)
    parsing         ``labels`` (H, W) uint8, LIP's class of each pixel
    detection       ``boxes`` (N, 4), ``scores`` (N, ), ``labels`` (N, ), best first
    attribute       ``probabilities`` (A, ), ``attributes``, names of those above 0.5
    reid            ``feature`` (C, ) of unit length; of a gallery ``names``, ``distances``
    person_search   ``boxes``, ``scores``, ``labels``, ``features`` (N, C); of a query
                    ``similarity`` (N, ), by which they are ordered
    ==============  ================================================================================

    Boxes are x1, y1, x2, y2 in pixels of the image. A path that cannot be read, among others that
    can, is skipped; the skips are counted in a warning at the end and named in ``.skipped`` and
    ``out_dir/skipped_images.txt``. To load the model once, keep an :class:`Inferencer`.

    Args:
        task: One of the table.
        images: A path, an array (H, W, 3) or (N, H, W, 3) uint8 BGR, or several; of paths, images,
            folders (with all below them) and videos. Of attribute and reid, and of pose without
            ``boxes``, an image is one person, cut out.
        config: Config of the model, or its name in the zoo; by default the one beside the
            checkpoint, as of published files and runs, or without one the zoo's model of the task.
        checkpoint: A checkpoint of its training, or published; by default the zoo's.
        device: Where the model runs; by default on the GPU where there is one.
        amp: True computes in bfloat16, False in float32; by default in bfloat16 on GPUs that
            compute in it, elsewhere in float32. What is found is float32.
        **options:
            boxes: The people that the caller knows: a list with (N, 4) for each image, a mapping
            from file, or (file, frame), to (N, 4), or a JSON file of those, which may be a
            detection's ``predictions.json``: its boxes of label 0 are taken, and what it
            skipped is skipped. Pose and person search look at these people alone; of attribute,
            reid and parsing each is cut out and has an entry of its own, with ``box``. Boxes of a
            file without area inside their image are left out and counted in a warning; of a list
            or mapping they are an error. None for an image is as without ``boxes``.

            out_dir: Where to write pictures and videos (of reid only with a gallery), and
            ``predictions.json``, the entries with three decimals, in which a label map is the name
            of its PNG file.

            min_score: Least score of what is drawn, and of boxes of a file with scores (0.3).

            batch_size: People, or images of one size, in one forward; by default the task's, which
            is larger on a GPU.

            gallery: reid: a folder of people to search among, or a :class:`ReIDIndex`, or its file.

            camera: reid: of all images, where the model has vectors of cameras.

            query: person_search: an image and the box of the person to search for, or the vector
            that :func:`clasp_mm.inferencers.person_search.embed` made of them.

            progress: Show a bar.

            rank, world_size: Number of this process, and of all that share the files on one file
            system; entries are of this one's share. The last one to finish writes
            ``predictions.json``, which does not depend on their number; killed ones go on.

    Raises:
        FileNotFoundError: There is no such config, checkpoint or input.
        TypeError: An input is neither path nor array.
        ValueError: There is no such task or device, config or checkpoint are of another, an option
            goes with another, no input can be read, two have one name, ``out_dir`` would have
            inputs overwritten, or ``boxes`` does not fit.

    Example:
        >>> found = inference('reid', 'people', 'reid.py', 'reid.pth')
        >>> [entry['file'] for entry in found]
        ['0.jpg', '1.jpg', '2.jpg', '3.jpg']
    """
    return Inferencer(task, config, checkpoint, device, amp)(images, **options)


def _warn(what: str, faults: Sequence[str]) -> None:
    if faults:
        print_log(f'{what}: {"; ".join(faults[:5])}' + ('; ...' if len(faults) > 5 else ''),
                  'current', logging.WARNING)


def _stamp(source: Path | np.ndarray) -> tuple[int, int] | None:
    """Size and time of change; None of an array, or where nothing can be seen."""
    try:
        state = None if isinstance(source, np.ndarray) else os.stat(source)
    except OSError:
        return None
    return state and (state.st_size, state.st_mtime_ns)

"""Inference of each task through ``clasp_mm.inference`` against the bare model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from clasp_mm.inferencers.inferencer import Inferencer
from clasp_mm.utils.resources import shipped_file

from .contest import Goal, Options, Row, race

_GOAL = Goal(1.10)


class _Case(NamedTuple):
    """A shipped config, (height, width) of the images it is given, and how many."""

    config: str
    size: tuple[int, int]
    batch: int


_CASES = dict(
    reid=_Case('reid/transreid_pcmoe-swin-tiny_1xb64-120e_market1501-384x128.py', (128, 64), 8),
    attribute=_Case('attribute/rethinkpar_pcmoe-swin-tiny_1xb64-30e_pa100k-256x128.py',
                    (200, 100), 8),
    pose=_Case('pose/td-hm_pcmoe-swin-tiny_8xb32-210e_coco-256x192.py', (300, 200), 4),
    parsing=_Case('parsing/schp_pcmoe-swin-tiny_8xb8-150e_lip-473x473.py', (500, 300), 2),
    detection=_Case('detection/faster-rcnn_pcmoe-swin-tiny_fpn_8xb2-1x_coco-person.py',
                    (480, 640), 1),
    person_search=_Case('person_search/seqnet_pcmoe-swin-tiny_1xb4-20e_cuhk-sysu-900x1500.py',
                        (600, 800), 1))
_HOSTS = dict(pose='mmpose', parsing='mmseg', detection='mmdet', person_search='mmdet')


def inference(options: Options) -> Iterator[Row]:
    """All tasks, but those whose host is not installed.

    Ours goes from arrays of 8 bits to plain data, resizing and collating included; the bare model
    gets the batches that this made, ready on the CPU.
    """
    for task in tasks_here():
        yield _race(task, _CASES[task], options)


def tasks_here() -> list[str]:
    """All tasks, but those whose host is not installed."""
    return [task for task in _CASES if task not in _HOSTS or find_spec(_HOSTS[task])]


def random_inferencer(task: str, options: Options) -> tuple[Inferencer, str]:
    """Of a shipped Swin-T config (quick: the quickstart's) with random weights; and its name."""
    config = shipped_file(f'configs/{_CASES[task].config}')
    if options.quick:
        config = next(shipped_file('configs/quickstart').glob(f'{task}_*.py'))
    with tempfile.TemporaryDirectory() as folder:
        infer = Inferencer(task, *random_model(config, Path(folder)), device=options.device,
                           amp=options.amp)
    return infer, config.stem


def _race(task: str, case: _Case, options: Options) -> Row:
    batch = options.batch(case.batch, quick=1)
    infer, name = random_inferencer(task, options)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*case.size, 3), np.uint8) for _ in range(batch)]
    batches = _recorded(infer, images, batch)

    def ours() -> None:
        infer(images, batch_size=batch)

    @torch.no_grad()
    def bare() -> None:
        with options.autocast():
            for data in batches:
                infer.model.test_step(deepcopy(data))

    height, width = case.size
    return race(f'inference, {task}', f'{name}, {batch} images of {height}x{width}, '
                f'{options.dtype}', 'the bare model on prepared batches', ours, bare, _GOAL,
                options, batch)


def random_model(config: Path, folder: Path) -> tuple[Path, Path]:
    """A config without pretraining, and a checkpoint of random weights for it."""
    cfg = Config.fromfile(config)
    cfg.model.backbone.init_cfg = None
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    for name, buffer in model.named_buffers():
        if name.endswith('positive_ratios'):  # of a training set
            buffer.fill_(.3)
    path, checkpoint = folder / 'config.py', folder / 'weights.pth'
    cfg.dump(path)
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    return path, checkpoint


def _recorded(infer: Inferencer, images: list[np.ndarray], batch: int) -> list[Any]:
    """The batches that reach the model when it infers."""
    batches, test_step = [], infer.model.test_step

    def record(data: Any) -> Any:
        batches.append(deepcopy(data))
        return test_step(data)
    infer.model.test_step = record
    try:
        infer(images, batch_size=batch)
    finally:
        del infer.model.test_step
    return batches

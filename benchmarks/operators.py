"""Detectors on the operators that stand in for compiled mmcv, against compiled mmcv."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from mmengine.config import Config

from clasp_mm import compat
from clasp_mm.compat.operators import OPERATORS, raising

from .contest import Goal, Options, Row, race
from .downstream import Size, Task, detection_sample, host_faster_rcnn, host_model, shipped_config
from .person_search import person_sample, seqnet_config

_FASTER = 'detection/faster-rcnn_pcmoe-swin-tiny_fpn_8xb2-1x_coco-person.py'
_CSP = 'detection/csp_pcmoe-swin-tiny_8xb3-240e_citypersons-1024x2048.py'
_MASK = 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'  # of mmdet


def operators(options: Options) -> Iterator[Row]:
    """Faster R-CNN, Mask R-CNN, CSP and SeqNet: the same models, both ways.

    Raises:
        RuntimeError: There is no compiled mmcv to compare with.
    """
    if compat.operators_in_use() != 'compiled mmcv':
        raise RuntimeError('the benchmark "operators" compares with compiled mmcv, and there is '
                           'none: bash tools/setup.sh --compiled-ops')
    for head, cfg, size, sample, peer in (
            ('Faster R-CNN', shipped_config(_FASTER, options), (512, 1024), detection_sample,
             host_faster_rcnn),
            ('Mask R-CNN', _mask_rcnn(), (512, 1024), _masked_sample, _as_it_is),
            ('CSP', shipped_config(_CSP, options), (512, 1024), detection_sample, host_model),
            ('SeqNet', shipped_config(seqnet_config(options), options), (448, 752),
             person_sample, _as_it_is)):
        size = (96, 64) if options.quick else size
        batch = options.batch(1)
        task = Task(cfg, True, size, sample, batch, options, peer)
        for kind, call in (('inference', task.infer), ('step', task.step)):
            yield race(f'{head} {size[0]}x{size[1]}, {kind}',
                       f'{head}, {size[0]}x{size[1]}, {options.dtype}, batch {batch}',
                       'compiled mmcv', _on_ours(call), call, Goal(1.), options, batch)


def _as_it_is(model: dict, host: str) -> dict:
    return model


def _mask_rcnn() -> Config:
    import mmdet
    return Config.fromfile(Path(mmdet.__file__).parent / '.mim' / 'configs' / _MASK)


def _masked_sample(cfg: Config, size: Size) -> Any:
    """Some people, whose masks fill their boxes."""
    from mmdet.structures.mask import BitmapMasks
    sample = detection_sample(cfg, size)
    boxes = sample.gt_instances.bboxes.int().tolist()
    masks = np.zeros((len(boxes), *size), np.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = 1
    sample.gt_instances.masks = BitmapMasks(masks, *size)
    return sample


class Extension(SimpleNamespace):
    """A module of some operators; any other raises when it is called."""

    def __getattr__(self, name: str) -> Callable:
        return raising(name)


@contextmanager
def called_by_mmcv(functions: Mapping[str, Callable]) -> Iterator[None]:
    """``mmcv.ops`` calls ``functions`` in place of its compiled module."""
    ops = importlib.import_module('mmcv.ops')
    modules = [importlib.import_module(f'mmcv.ops.{found.name}')
               for found in pkgutil.iter_modules(ops.__path__) if found.name != 'csrc']
    users = [module for module in modules if hasattr(module, 'ext_module')]
    found = [module.ext_module for module in users]
    for module in users:
        module.ext_module = Extension(**functions)
    try:
        yield
    finally:
        for module, one in zip(users, found, strict=True):
            module.ext_module = one


def _on_ours(call: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> Any:
        with called_by_mmcv(OPERATORS):
            return call()
    return run

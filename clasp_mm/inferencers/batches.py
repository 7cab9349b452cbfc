"""Prepared images through a model, several in one forward."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn

from clasp_mm.datasets.images import UnreadableImageError
from clasp_mm.utils.device import precision

_WAITING = 4  # batches' worth of samples that may wait for others of their size


def predict_batches(model: nn.Module, samples: Iterable[Mapping[str, Any]], batch_size: int
                    ) -> Iterator[Any]:
    """What a host's model says of each sample, in order.

    Samples share a forward where the model pads them to one size, so that none is padded to
    another's and a result does not depend on what it was batched with. Those of a rare size wait
    for others while no more than a few batches wait in all.

    Args:
        model: With ``test_step``; its attribute ``amp`` is that of
            :func:`clasp_mm.utils.device.precision`.
        samples: Samples of the model's test pipeline: ``inputs``, (3, H, W), and ``data_samples``.
        batch_size: Samples in one forward, at most.

    Raises:
        ValueError: ``batch_size`` is not positive.
    """
    if batch_size < 1:
        raise ValueError(f'batch_size={batch_size} must be at least 1')
    decode_in_float32(model)
    waiting: dict[tuple[int, ...], dict[int, Mapping[str, Any]]] = {}  # by size, then by place
    done: dict[int, Any] = {}
    turn = 0  # the place whose result is to be given next

    def run(size: tuple[int, ...]) -> None:
        batch = waiting.pop(size)
        done.update(zip(batch, _forward(model, list(batch.values())), strict=True))

    for place, sample in enumerate(samples):
        size = _padded(model, sample)
        waiting.setdefault(size, {})[place] = sample
        if len(waiting[size]) == batch_size:
            run(size)
        elif place - turn >= _WAITING * batch_size:
            run(next(size for size, batch in waiting.items() if turn in batch))
        while turn in done:
            yield done.pop(turn)
            turn += 1
    for size in list(waiting):
        run(size)
    for place in sorted(done):
        yield done[place]


def _padded(model: nn.Module, sample: Mapping[str, Any]) -> tuple[int, ...]:
    """(3, H, W) to which the model's preprocessor pads a sample that is alone."""
    channels, *sides = sample['inputs'].shape
    divisor = getattr(model.data_preprocessor, 'pad_size_divisor', 1)
    return (channels, *(-(-side // divisor) * divisor for side in sides))


def prepare(model: nn.Module, image: np.ndarray, **fields: Any) -> Mapping[str, Any]:
    """A sample of an image by the model's pipeline.

    Args:
        model: With ``pipeline``.
        image: (H, W, 3) uint8, BGR.
        **fields: What else the pipeline reads.

    Raises:
        UnreadableImageError: Nothing is left of the image at the model's size: it is too thin.
    """
    try:
        return model.pipeline(dict(img=image, **fields))
    except cv2.error as error:
        raise UnreadableImageError(
            f'an image of {image.shape[1]}x{image.shape[0]} pixels cannot be brought to the '
            f'model\'s size: {error.err}') from error


@torch.no_grad()
def _forward(model: nn.Module, batch: list[Mapping[str, Any]]) -> Any:
    with precision(next(model.parameters()).device, getattr(model, 'amp', None)):
        return model.test_step(pseudo_collate(batch))


def decode_in_float32(model: nn.Module) -> None:
    """Have a host's heads decode their networks' outputs in float32, outside of autocast.

    Autocast leaves outputs in bfloat16, which NumPy does not know, and neither do mmcv's NMS and
    RoIAlign; and coordinates in pixels need more than its eight bits. Methods of the modules are
    replaced, once.
    """
    for module in model.modules():
        if hasattr(module, 'predict_by_feat'):  # heads of mmdet and mmseg
            _replace(module, 'predict_by_feat', _with_float_inputs)
        if hasattr(module, 'decode') and hasattr(module, 'decoder'):  # heads of mmpose
            _replace(module, 'forward', _with_float_outputs)
        layers = getattr(module, 'roi_layers', ())  # of torchvision's RoIAlign, which knows all
        if not all(getattr(layer, 'use_torchvision', True) for layer in layers):
            _replace(module, 'forward', _with_float_inputs)


def _replace(module: nn.Module, name: str, way: Callable) -> None:
    method = getattr(module, name)
    if not isinstance(method, partial):
        setattr(module, name, partial(way, method))


def _with_float_inputs(method: Callable, *args: Any, **kwargs: Any) -> Any:
    with torch.autocast('cpu', enabled=False), torch.autocast('cuda', enabled=False):
        return method(*map(_float, args), **{key: _float(one) for key, one in kwargs.items()})


def _with_float_outputs(method: Callable, *args: Any, **kwargs: Any) -> Any:
    return _float(method(*args, **kwargs))


def _float(value: Any) -> Any:
    """Float32 in the place of half precision, in lists and tuples too."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
    if type(value) in (list, tuple):
        return type(value)(map(_float, value))
    return value

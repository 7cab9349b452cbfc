"""Float32 where a host takes a network's outputs to pieces, whatever the network computed in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


def decode_in_float32(model: nn.Module) -> None:
    """Have a host's heads decode their networks' outputs in float32, outside of autocast.

    Autocast leaves outputs in bfloat16, which NumPy does not know, and neither do mmcv's NMS and
    RoIAlign; and coordinates in pixels need more than its eight bits.

    Args:
        model: Any host's; methods of its modules are replaced, once.
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

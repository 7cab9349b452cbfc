"""Where to compute: one rule for every tool and every call."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PRECISIONS = ('high', 'highest', 'medium')
_announced: list[torch.device] = []  # by a program's command line; at most one


def computes_in_bfloat16(device: str | torch.device, amp: bool | None = None) -> bool:
    """Whether networks compute in bfloat16 in the context of :func:`precision`."""
    import torch
    device = torch.device(device)
    if amp is None:
        return device.type == 'cuda' and torch.cuda.get_device_capability(device) >= (8, 0)
    return amp


def precision(device: str | torch.device, amp: bool | None = None) -> torch.autocast:
    """A context in which networks compute in bfloat16 autocast, or in float32.

    Args:
        device: Where they compute.
        amp: True is bfloat16, False float32; None is bfloat16 on GPUs that compute in it (Ampere
            and later), elsewhere float32.
    """
    import torch
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16,
                          enabled=computes_in_bfloat16(device, amp))


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for; by default the program's, the GPU where there is one, else the CPU.

    Raises:
        ValueError: There is no such device here; the message names what there is.
    """
    import torch
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device is None and _announced:
        return _announced[0]
    if device is None:
        return torch.device('cuda' if gpus else 'cpu')
    try:
        picked = torch.device(device)
        if picked.type not in ('cpu', 'cuda'):
            torch.zeros(1, device=picked).cpu()
        there = picked.type != 'cuda' or (picked.index or 0) < gpus
    except (RuntimeError, NotImplementedError, AssertionError):
        there = False
    if not there:
        names = ', '.join(['cpu', *(f'cuda:{index}' for index in range(gpus))])
        raise ValueError(f'no device {str(device)!r}: torch sees {names}'
                         + ('' if gpus else ' and no GPU'))
    return picked


def set_matmul_precision(precision: str = 'high') -> None:
    """Set how GPUs multiply float32 matrices; the CPU keeps float32.

    Args:
        precision: ``high`` (TF32: float32 numbers with 10 bits of mantissa, several times as fast),
            ``highest`` (float32) or ``medium`` (bfloat16).

    Raises:
        ValueError: No such precision.
    """
    import torch
    if precision not in PRECISIONS:
        raise ValueError(f'float32_matmul_precision must be one of {", ".join(PRECISIONS)}, '
                         f'got {precision!r}')
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision(precision)


def announce_device(device: str | torch.device | None = None) -> torch.device:
    """Pick the device of a program, for all that it computes, and say which on stderr.

    A GPU becomes torch's current one, the device :func:`pick_device`'s default.

    Of ``cuda`` without a number a program that torchrun started takes its own.

    Raises:
        ValueError: As :func:`pick_device`.
    """
    import torch
    picked, name = pick_device(device), ''
    if picked.type == 'cuda':
        if picked.index is None:
            picked = pick_device(f'cuda:{os.environ.get("LOCAL_RANK", 0)}')
        torch.cuda.set_device(picked)
        name = f' ({torch.cuda.get_device_name(picked)})'
    _announced[:] = [picked]
    print(f'device: {picked}{name}', file=sys.stderr)
    return picked

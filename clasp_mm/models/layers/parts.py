"""Inference on CPUs some rows at a time, so that what a layer hands to the next is cached."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from clasp_mm.compat import is_compiling

_LARGE = 2**23  # elements: above 32 MiB the C library asks the system for fresh pages every time
_PART = 2**21


def goes_in_parts(module: nn.Module, rows: int, width: int, x: Tensor) -> bool:
    """Whether :func:`in_parts` would make more than one call.

    Args:
        module: What is computed.
        rows: How many rows are mapped, each by itself.
        width: Elements of the largest layer that is made of one row.
        x: The rows, or what they are taken from.
    """
    return (not torch.is_grad_enabled() and x.device.type == 'cpu' and runs_plainly()
            and rows * width > _LARGE and rows > 1 and not is_watched(module))


def in_parts(module: nn.Module, function: Callable[..., Tensor], width: int, x: Tensor,
             *more: Tensor, dim: int = 0) -> Tensor:
    """``function(x, *more)``, without gradients on a CPU some rows at a time.

    Only where the largest layer of all rows would have more than 2^23 elements: the values are the
    same but for the last digits. In training, traces, exports and compiled code, and where somebody
    watches ``module`` by a hook, it is one call.

    Args:
        module: What ``function`` computes.
        function: Maps each row of ``x`` and ``more`` by itself.
        width: Elements of the largest layer that ``function`` makes of one row.
        x: N rows along ``dim``.
        more: N rows along ``dim`` each.
        dim: The dimension.

    Returns:
        N rows along ``dim``.
    """
    if not goes_in_parts(module, x.shape[dim], width, x):
        return function(x, *more)
    size = max(1, _PART // width)
    parts = zip(*(tensor.split(size, dim) for tensor in (x, *more)), strict=True)
    return torch.cat([function(*part) for part in parts], dim)


def runs_plainly() -> bool:
    """Whether operators are run and no more: nothing compiles, records, counts or maps them."""
    return not (is_compiling() or torch.jit.is_tracing()
                or torch._C._len_torch_dispatch_stack()
                or torch._C._are_functorch_transforms_active())


def is_watched(module: nn.Module) -> bool:
    """Whether a forward hook waits in ``module`` or below it."""
    return any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())

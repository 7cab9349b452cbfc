"""All that is done for CPUs alone, behind one switch: :func:`runs_plainly_on_cpu`.

GPUs, and traces, exports, compiled code, function transforms and modes that count or fake, get what
torch makes of the plain operators. Names of torch that are private and for CPUs are here.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clasp_mm.compat import is_compiling, torch_at_least

_ONEDNN = (torch_at_least(2, 4) and torch.backends.mkldnn.is_available()
           and hasattr(torch.ops.mkldnn, '_linear_pointwise'))
_CUT_BY_QUESTION = not torch_at_least(2, 13)  # seen on 2.4, not on 2.13
_LARGE = 2**23  # elements: above 32 MiB the C library asks the system for fresh pages every time
_PART = 2**21


def is_transformed() -> bool:
    """Whether a function transform of torch.func is at work.

    Code compiled by older versions, in which the question would cut the graph, is taken for plain.
    """
    return not (_CUT_BY_QUESTION and is_compiling()) and (
        torch._C._are_functorch_transforms_active())


def runs_plainly_on_cpu(x: Tensor) -> bool:
    """Whether operators on ``x`` are run by a CPU and no more: nothing compiles or records them."""
    return (x.device.type == 'cpu'
            and not (is_compiling() or torch.jit.is_tracing()
                     or torch._C._len_torch_dispatch_stack() or is_transformed()))


def has_hooks(module: nn.Module) -> bool:
    """Whether a forward hook waits in ``module`` or below it."""
    return any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def needs_chunks(module: nn.Module, rows: int, width: int, x: Tensor) -> bool:
    """Whether :func:`chunked` would make more than one call of ``rows`` taken from ``x``."""
    return (not torch.is_grad_enabled() and runs_plainly_on_cpu(x)
            and rows * width > _LARGE and rows > 1 and not has_hooks(module))


def chunked(module: nn.Module, function: Callable[..., Tensor], width: int, x: Tensor,
             *more: Tensor, dim: int = 0) -> Tensor:
    """``function(x, *more)``, without gradients some rows at a time.

    What a layer hands to the next is then cached. Only where the largest layer of all rows would
    have more than 2^23 elements: the values are the same but for the last digits. In training, and
    where somebody watches ``module`` by a hook, it is one call.

    Args:
        module: What ``function`` computes.
        function: Maps each row of ``x`` and ``more`` by itself.
        width: Elements of the largest layer that ``function`` makes of one row.
        x: N rows along ``dim``.
        more: N rows along ``dim`` each.
        dim: Their dimension, and that of the result's N rows.
    """
    if not needs_chunks(module, x.shape[dim], width, x):
        return function(x, *more)
    size = max(1, _PART // width)
    parts = zip(*(tensor.split(size, dim) for tensor in (x, *more)), strict=True)
    return torch.cat([function(*part) for part in parts], dim)


def onednn_takes(x: Tensor, weight: Tensor) -> bool:
    """Whether :func:`onednn_linear` can map ``x``: float32 all, and not nothing."""
    return (_ONEDNN and x.dtype == weight.dtype == torch.float32
            and not torch.is_autocast_enabled('cpu') and x.dim() > 1 and x.numel() > 0
            and runs_plainly_on_cpu(x))


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    """Linear map by oneDNN, then GELU if asked for.

    Without gradients one call does both, up to 1.7 times as fast as BLAS and a GELU of its own on
    the AMD cores at hand. With them the output and the gradient of the input are oneDNN's, 1.05 to
    1.7 times as fast, and the gradient of the weight, in which BLAS is faster, is BLAS's.
    """
    if not torch.is_grad_enabled():
        return _onednn(x, weight, bias, gelu)
    x = _OneDNNLinear.apply(x, weight, bias)
    return F.gelu(x) if gelu else x


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool = False) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(
        x, weight, bias, 'gelu' if gelu else 'none', [], 'none' if gelu else '')


class _OneDNNLinear(torch.autograd.Function):
    """(..., C) to (..., D) by weight (D, C) and bias (D,) or None; can be differentiated twice."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        rows = grad.flatten(0, -2)
        for_x = None if not for_x else (
            onednn_linear(grad, weight.T, None, False) if onednn_takes(grad, weight)
            else grad @ weight)
        return (for_x, rows.T @ x.flatten(0, -2) if for_weight else None,
                rows.sum(0) if for_bias else None)

"""Where the time of a call goes by part, and its floating-point operations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from clasp_mm.utils.profiling import profiled

PARTS = ('attention', 'matmul', 'copies', 'norm', 'elementwise', 'optimizer', 'other')
"""Groups of operators: softmax and fused or batched products of attention (and of the experts);
linear layers and convolutions; gathers, shifts, padding and layout; normalisation; activations
and arithmetic; the optimizer's and the moving average's fused loops; the rest."""

_OPERATORS = {
    'attention': ('scaled_dot_product', 'flash_attention', 'efficient_attention', 'softmax',
                  'bmm', 'baddbmm'),
    'matmul': ('addmm', 'aten::mm', 'convolution', 'conv2d', 'linear', 'mkldnn', 'matmul'),
    'copies': ('copy_', 'index', 'gather', 'scatter', 'roll', 'pad', 'clone', 'contiguous',
               'aten::cat', 'stack', 'fill_', 'zero', 'empty', 'select_backward',
               'slice_backward', 'unfold', 'im2col', 'col2im', 'Memcpy', 'Memset', '_to_copy',
               'new_full', 'aten::full'),
    'norm': ('norm',),
    'optimizer': ('foreach', 'fused_adam', 'Optimizer', 'addcdiv', 'addcmul', 'lerp'),
    'elementwise': ('gelu', 'aten::add', 'aten::mul', 'aten::div', 'aten::sub', 'sum', 'mean',
                    'sigmoid', 'bernoulli', 'exp', 'aten::clamp', 'minimum', 'aten::eq', 'where',
                    'masked_fill', 'neg', 'rsub', 'sqrt'),
}
# An operator belongs to the first group that knows it; layer norm before its own copies.
_ORDER = ('optimizer', 'norm', 'attention', 'matmul', 'copies', 'elementwise')


def part_of(operator: str) -> str:
    """The member of ``PARTS`` that an operator of torch belongs to."""
    if operator in ('aten::linalg_vector_norm', 'aten::norm'):
        return 'elementwise'
    return next((part for part in _ORDER
                 if any(word in operator for word in _OPERATORS[part])), 'other')


def profile_call(call: Callable[[], object], device: str = 'cpu') -> dict[str, dict[str, float]]:
    """Milliseconds, share of all, and GFLOP of each of ``PARTS`` in one call, after a first one.

    The times are those of torch's operators, each without what it calls; on a GPU its kernels'.
    """
    call()
    gflop = dict.fromkeys(PARTS, 0.)
    for operator, flop in flops_by_operator(call).items():
        gflop[part_of(operator)] += flop / 1e9
    cuda = device != 'cpu'
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if cuda else [])
    with profiled(activities) as recorded:
        call()
        if cuda:
            torch.cuda.synchronize(device)
    ms = dict.fromkeys(PARTS, 0.)
    for event in recorded.key_averages():
        time = getattr(event, 'self_device_time_total', 0) if cuda else event.self_cpu_time_total
        ms[part_of(event.key)] += time / 1e3
    total = sum(ms.values()) or 1.
    return {part: dict(ms=ms[part], share=ms[part] / total, gflop=gflop[part]) for part in PARTS}


def flops_by_operator(call: Callable[[], object]) -> dict[str, float]:
    """Floating-point operations of the matrix products and convolutions of a call.

    Returns:
        ``aten::name`` -> FLOP, a multiply-add counting as two.
    """
    on_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    counter = FlopCounterMode(display=False, custom_mapping={on_cpu: _sdpa_flop})
    with counter:
        call()
    counts = counter.get_flop_counts().get('Global', {})
    return {f'aten::{str(operator).rpartition(".")[2]}': float(flop)
            for operator, flop in counts.items()}


def _sdpa_flop(query: tuple, key: tuple, value: tuple, *args, out_shape=None, **kwargs) -> int:
    return sdpa_flop_count(query, key, value)

"""Torch's profiler, and the peak memory of a call by it."""

import gc
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


def profiled(activities: Sequence[ProfilerActivity], **kwargs: Any) -> profile:
    """Torch's profiler, which would talk to the console."""
    os.environ.setdefault('KINETO_LOG_LEVEL', '6')
    return profile(activities=activities, **kwargs)


def peak_bytes(build: Callable[[], Callable[[], object]], device: str = 'cpu',
               calls: int = 2) -> int:
    """Peak bytes of tensors alive from the building of a call to the end of its ``calls``-th run.

    On the CPU the allocations of the profiler's record are summed up, so that nothing but the
    tensors themselves counts and the figure does not depend on the machine or on what ran before;
    the scratch memory of libraries is not in it. On a GPU it is what torch's allocator gave out.

    Args:
        build: Makes all that the call needs, and gives the call.
        device: Where it computes.
        calls: Runs of it; the first makes the optimizer's state.
    """
    gc.collect()
    if device != 'cpu':
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call = build()
        for _ in range(calls):
            call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profiled([ProfilerActivity.CPU], profile_memory=True) as recorded:
        call = build()
        for _ in range(calls):
            call()
    records = [(event.start_ns(), event.nbytes())
               for event in recorded.profiler.kineto_results.events()
               if event.name() == '[memory]']
    alive = peak = 0
    for _, size in sorted(records, key=lambda record: record[0]):
        alive += size
        peak = max(peak, alive)
    return peak

"""Fair timing of several ways to do one thing: by turns in one process, medians."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import cv2
import torch
from threadpoolctl import threadpool_limits


class Timing(NamedTuple):
    """Medians of one call.

    Attributes:
        seconds: On the wall.
        cpu_seconds: Seconds of all threads of this process. On a machine that others use too, the
            ratio of these, on one thread, is the steadier one.
    """

    seconds: float
    cpu_seconds: float


def interleaved(calls: Mapping[str, Callable[[], object]], repeats: int = 7,
                warmup: int = 1, device: str | torch.device = 'cpu') -> dict[str, Timing]:
    """Median time of each call, all taken by turns.

    What else the machine does, and how its clock changes, so hits all calls alike. The order is
    reversed from round to round, so that none always runs in the other's wake.

    Args:
        calls: Name -> what is timed.
        repeats: Rounds that count.
        warmup: Rounds before.
        device: Where the calls compute; a GPU is waited for before and after each.

    Raises:
        ValueError: If there is no call or no round.
    """
    if not calls or repeats < 1:
        raise ValueError(f'nothing to time: {len(calls)} calls, repeats={repeats}')
    on_gpu = torch.device(device).type == 'cuda'
    wait = partial(torch.cuda.synchronize, device) if on_gpu else lambda: None
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for number in range(warmup + repeats):
        for name in list(calls) if number % 2 == 0 else reversed(calls):
            wait()
            wall, cpu = time.perf_counter(), time.process_time()
            calls[name]()
            wait()
            if number >= warmup:
                taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: Timing(*map(statistics.median, zip(*pairs, strict=True)))
            for name, pairs in taken.items()}


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Give torch, OpenCV, BLAS and OpenMP this many threads, and back what they had."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(number)
    cv2.setNumThreads(number)
    try:
        with threadpool_limits(number):
            yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])

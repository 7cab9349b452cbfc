"""Processes that work at one place at the same time, or die in the middle of it."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import torch

from clasp_mm.utils.processes import born, is_alive

_MODULES = ['tests.test_kill', 'tests.test_utils.test_two_at_once', 'tests.test_two_drawings',
            'tests.test_two_runs', 'tests.test_utils.test_shards']


def begin(job, *arguments):
    """A process that has imported everything already, so that kills and meetings meet the work."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(_MODULES)
    process = context.Process(target=job, args=arguments)
    process.start()
    return process


def spread(job, *arguments, count):
    """Run ``job(rank, *arguments)`` in ``count`` processes; one that fails raises its error."""
    multiprocessing.set_forkserver_preload(_MODULES)
    torch.multiprocessing.start_processes(job, arguments, count, start_method='forkserver')


def together(job, *arguments, count):
    """How many of ``count`` processes fail at ``job(number, *arguments)``, at the same time."""
    moment = time.time() + 1 + count / 10
    processes = [begin(at, moment, job, number, *arguments) for number in range(count)]
    for process in processes:
        process.join()
    return sum(process.exitcode != 0 for process in processes)


def at(moment, job, *arguments):
    time.sleep(max(0, moment - time.time()))
    job(*arguments)


def die(job, *arguments):
    """A process that has died while it did something; its id."""
    process = begin(job, *arguments)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    return process.pid


def kill_me(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def gone(pid, seconds=10):
    end = time.monotonic() + seconds
    while is_alive(pid, born(pid)) and time.monotonic() < end:
        time.sleep(0.02)
    return not is_alive(pid, born(pid))


def left(place):
    """Names of all that lies in a folder."""
    return sorted(str(path.relative_to(place)) for path in Path(place).rglob('*'))


def state(place):
    """Every file below a folder, with its bytes."""
    return {str(path.relative_to(place)): path.read_bytes()
            for path in sorted(Path(place).rglob('*')) if path.is_file()}

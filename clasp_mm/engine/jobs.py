"""Run training jobs side by side, each in its own process, under one progress display."""

import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from clasp_mm.utils.processes import ending_with_parent

ONE_THREAD = {name: '1' for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS',
                                     'OPENBLAS_NUM_THREADS')}
_POLL = 0.5  # seconds between two looks at the jobs
_PEAK = re.compile(r'VmHWM:\s+(\d+) kB')
_PERCENT = re.compile(rb'Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/(\d+)\]|(\d+)%\|')


@dataclass
class Job:
    """A command, its log, and how to tell its progress from the log.

    Args:
        name: Shown in the display and in errors.
        command: Arguments of the process.
        log: File that takes everything the process prints.
        epochs: Number of epochs of an MMEngine training; 0 for a command with a tqdm bar.
        env: Variables to add to the environment.
    """

    name: str
    command: Sequence[str]
    log: Path
    epochs: int = 0
    env: Mapping[str, str] = field(default_factory=dict)

    def progress(self) -> float:
        """Share done, in [0, 1], from the last line of the log that tells it."""
        with open(self.log, 'rb') as file:
            file.seek(max(0, os.path.getsize(self.log) - 4096))
            found = _PERCENT.findall(file.read())
        if not found:
            return 0.0
        epoch, step, steps, percent = found[-1]
        if percent:
            return int(percent) / 100
        return (int(epoch) - 1 + int(step) / int(steps)) / max(self.epochs, 1)


def run_jobs(jobs: Sequence[Job], parallel: int | None = None) -> dict[str, dict[str, float]]:
    """Run jobs at the same time and wait for all; the first failure stops the others.

    They end with this process, on Linux even where it is killed.

    Args:
        jobs: They have names of their own.
        parallel: How many run at the same time, in the order given; None runs all at once.

    Returns:
        For each job's name its wall ``seconds`` and ``peak_memory_mb`` of its process.

    Raises:
        RuntimeError: If a job fails; names its log and shows the end of it.
    """
    waiting = list(jobs)
    running: dict[subprocess.Popen, tuple[Job, float, int]] = {}  # with its start and its bar
    peaks: dict[str, float | None] = {}
    usage: dict[str, dict[str, float]] = {}
    columns = (TextColumn('{task.description:<24}'), BarColumn(),
               TextColumn('{task.percentage:3.0f}%'), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns) as display:
        try:
            while waiting or running:
                while waiting and len(running) < (parallel or len(jobs)):
                    job, start = waiting.pop(0), time.perf_counter()
                    job.log.parent.mkdir(parents=True, exist_ok=True)
                    with open(job.log, 'wb') as log:
                        process = subprocess.Popen(
                            ending_with_parent(job.command), stdout=log, stderr=subprocess.STDOUT,
                            env={**os.environ, **job.env})
                    running[process] = job, start, display.add_task(job.name, total=1.0)
                time.sleep(_POLL)
                for process, (job, start, bar) in list(running.items()):
                    display.update(bar, completed=job.progress())
                    peaks[job.name] = _peak_memory_mb(process.pid) or peaks.get(job.name)
                    pid, status, resources = os.wait4(process.pid, os.WNOHANG)
                    if pid == 0:
                        continue
                    del running[process]
                    process.returncode = os.waitstatus_to_exitcode(status)
                    if process.returncode:
                        raise RuntimeError(_failure(job, process.returncode))
                    usage[job.name] = dict(seconds=time.perf_counter() - start,
                                           peak_memory_mb=peaks[job.name]
                                           or peak_bytes(resources) / 2**20)
                    display.update(bar, completed=1.0)
        finally:
            for process in running:
                process.kill()
                process.wait()
    return usage


def _peak_memory_mb(pid: int) -> float | None:
    """Peak of a running process where the system tells it (Linux)."""
    try:
        found = _PEAK.search(Path(f'/proc/{pid}/status').read_text('utf-8'))
    except OSError:
        return None
    return int(found[1]) / 1024 if found else None


def peak_bytes(usage: resource.struct_rusage) -> int:
    """Most memory that a process had; on Linux no less than its parent's at its start."""
    return usage.ru_maxrss * (1024 if sys.platform != 'darwin' else 1)


def _failure(job: Job, code: int) -> str:
    tail = job.log.read_text('utf-8', 'replace').splitlines()[-15:]
    return '\n'.join([f'{job.name} failed with exit status {code}; its log is {job.log} and ends:',
                      *(f'  {line}' for line in tail)])

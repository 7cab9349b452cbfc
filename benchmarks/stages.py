"""Stages of a check, each a process of its own with a time of its own; a row for every result.

A stage is a function that is given a :class:`Report`. What it finds goes to ``results.jsonl`` at
once, and what it prints to a log of its own, so that one that crashes or hangs costs no other.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from clasp_mm.utils.files import append_row
from clasp_mm.utils.processes import ending_with_parent

RESULTS = 'results.jsonl'
_ROOT = str(Path(__file__).resolve().parents[1])
_LOOK = 0.1  # seconds between two looks at a stage
_WIDTH = 240  # of a row on the screen
_TAIL = 12  # lines of the log of a stage that failed


class Stage(NamedTuple):
    """What a process runs.

    Attributes:
        target: ``package.module:function``.
        share: Of the time, next to those of the other stages.
    """

    target: str
    share: float = 1.


class Report:
    """Where a stage writes what it finds.

    Args:
        out: Folder of the results.
        stage: Its name.
        work: A folder for its own files, removed after it.
        until: Its end by ``time.time()``.
        smoke: Show that all runs, at tiny sizes.
    """

    def __init__(self, out: str, stage: str, work: str, until: float, smoke: bool) -> None:
        self.out, self.stage, self.work = Path(out), stage, Path(work)
        self.until, self.smoke = until, smoke
        self._longest = 0.

    def row(self, name: str, **values: Any) -> None:
        """Write a result; ``ok`` among the values makes it one that can fail."""
        append_row(self.out / RESULTS, dict(at=round(time.time(), 1), stage=self.stage, name=name,
                                            **values))

    def check(self, name: str, ok: bool, **values: Any) -> None:
        """Write whether something is as it should be."""
        self.row(name, ok=bool(ok), **values)

    def leave_out(self, name: str, reason: str) -> None:
        """Write that something was not tried."""
        self.row(name, left_out=reason)

    def part(self, name: str, function: Callable[..., object], *args: Any) -> None:
        """Call a function whose failure ends nothing else.

        It is left out where less time is left than the longest part so far took, and counts as
        left out where it does not fit into the memory of a GPU.
        """
        begin = time.time()
        if self.until - begin < self._longest:
            self.leave_out(name, f'{self.until - begin:.0f} s left')
            return
        try:
            function(*args)
        except Exception as error:
            if type(error).__name__ == 'OutOfMemoryError':  # torch's
                self.leave_out(name, 'out of memory')
            else:
                self.check(name, False, error=f'{type(error).__name__}: {error}'[:600])
                traceback.print_exc()
        self._longest = max(self._longest, time.time() - begin)


def run_stages(stages: Mapping[str, Stage], out: str | os.PathLike, budget: float,
               smoke: bool = False) -> int:
    """Run stages one after the other, print their rows as they come, and sum up.

    A stage gets its share of the time that is left, so that what one does not need goes to the
    next ones; then it is ended, with all that it started.

    Args:
        stages: By name, in their order.
        out: Folder of ``results.jsonl``, which is written anew, and of ``STAGE.log``.
        budget: Seconds for all of them.
        smoke: See :class:`Report`.

    Returns:
        How many rows are not ok.
    """
    out = Path(out).absolute()
    out.mkdir(parents=True, exist_ok=True)
    (out / RESULTS).write_bytes(b'')
    end, rows = time.time() + budget, []
    for number, (name, stage) in enumerate(stages.items()):
        begin = time.time()
        to_come = sum(one.share for one in list(stages.values())[number:])
        limit = max(end - begin, 0) * stage.share / to_come
        with tempfile.TemporaryDirectory(prefix=f'{name}_', ignore_cleanup_errors=True) as work:
            report = Report(str(out), name, work, begin + limit, smoke)
            rows += _run(report, stage.target, len(rows))
    return _sum_up(rows)


def _run(report: Report, target: str, seen: int) -> Iterator[dict[str, Any]]:
    """Run one stage to its end; the rows after the first ``seen``."""
    begin, log = time.time(), report.out / f'{report.stage}.log'
    arguments = json.dumps([target, str(report.out), report.stage, str(report.work), report.until,
                            report.smoke])
    command = ending_with_parent([
        sys.executable, '-c', f'import sys; sys.path.insert(0, {_ROOT!r}); '
        f'from {__name__} import _child; _child()', arguments])
    with open(log, 'wb') as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        while process.poll() is None and time.time() < report.until:
            with suppress(subprocess.TimeoutExpired):
                process.wait(min(_LOOK, max(report.until - time.time(), 0)))
            for row in _show(report.out, seen):
                seen += 1
                yield row
    finally:
        code = process.poll()
        if code is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    failure = {}
    if code != 0:
        tail = log.read_text('utf-8', 'replace').splitlines()[-_TAIL:]
        failure = dict(error='its time was over' if code is None else f'exit status {code}',
                       log=str(log), tail=tail)
    _end_line(report.out / RESULTS)
    report.check('stage', code == 0, seconds=round(time.time() - begin, 1), **failure)
    yield from _show(report.out, seen)


def _end_line(path: Path) -> None:
    """End a row that was cut off, so that the next one is whole."""
    content = path.read_bytes()
    if content and not content.endswith(b'\n'):
        with open(path, 'ab') as file:
            file.write(b'\n')


def _child() -> None:
    """A stage's process."""
    target, *where = json.loads(sys.argv[1])
    module, function = target.split(':')
    getattr(import_module(module), function)(Report(*where))


def _show(out: Path, seen: int) -> Iterator[dict[str, Any]]:
    """Print and give the whole rows after the first ``seen``."""
    *lines, _ = (out / RESULTS).read_bytes().split(b'\n')
    for line in lines[seen:]:
        row = _read(line)
        text = ', '.join(f'{key} {_short(value)}' for key, value in row.items()
                         if key not in ('at', 'stage', 'name', 'ok', 'tail'))
        verdict = {True: 'ok  ', False: 'NOT OK  '}.get(row.get('ok'), '')
        print(f'{row["stage"]}: {row["name"]}: {verdict}{text}'[:_WIDTH], flush=True)
        yield row


def _read(line: bytes) -> dict[str, Any]:
    try:
        return json.loads(line)
    except ValueError:  # what a process wrote that was ended while it did
        return dict(stage='?', name='half a row', text=line.decode('utf-8', 'replace')[:80])


def _short(value: Any) -> str:
    return f'{value:.4g}' if isinstance(value, float) else str(value)


def _sum_up(rows: list[dict[str, Any]]) -> int:
    """Print what is not ok, what was left out, and the numbers; give the first."""
    wrong = [row for row in rows if row.get('ok') is False]
    left_out = [row for row in rows if 'left_out' in row]
    print()
    for row in left_out:
        print(f'left out: {row["stage"]}, {row["name"]}: {row["left_out"]}')
    for row in wrong:
        values = {key: value for key, value in row.items()
                  if key not in ('at', 'stage', 'name', 'ok', 'tail')}
        print(f'NOT OK: {row["stage"]}, {row["name"]}: {values}')
        for line in row.get('tail', ()):
            print(f'    {line}')
    number = sum(row.get('ok') is True for row in rows)
    more = f', {len(left_out)} left out' if left_out else ''
    print(f'{number} ok, {len(wrong)} not ok{more}', flush=True)
    return len(wrong)

"""Folders that one run at a time writes to."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .files import locked, partial_name, write_text
from .processes import born, is_alive, machine

CLAIM = '.claim.json'
_BEAT, _SILENCE = 30, 300  # seconds


class HeldError(RuntimeError):
    """Another process has the folder."""


@contextmanager
def hold(folder: str | os.PathLike, claim: str | os.PathLike | None = None) -> Iterator[None]:
    """Have a folder alone while the block runs; what killed runs left in it is removed.

    A file says who has it: host, process, since when. It does not rest on ``flock``, which not
    all network disks have, and which says nothing of who holds it. A claim is void when its
    process has ended, which is known at once on the same machine; of another machine, or another
    container, it is void when it was not touched for five minutes, which a living process does
    every half. Where ``flock`` is missing too, two that start within the same milliseconds may
    both get the folder.

    Args:
        folder: What is held.
        claim: The file; by default ``.claim.json`` in the folder, which is made.

    Raises:
        HeldError: Another process has it; names that one and the way out. Nothing was written.
    """
    folder = Path(folder)
    claim = Path(claim or folder / CLAIM)
    pid = os.getpid()
    own = dict(host=socket.gethostname(), pid=pid, born=born(pid), machine=machine(),
               since=datetime.now(timezone.utc).isoformat(timespec='microseconds'))
    with locked(claim):
        _refuse(folder, claim, _read(claim))
        write_text(claim, json.dumps(own))  # which sweeps the folder
    done = threading.Event()
    threading.Thread(target=_beat, args=(claim, done), daemon=True).start()
    try:
        yield
    finally:
        done.set()
        if os.getpid() == pid and _read(claim) == own:
            claim.unlink(missing_ok=True)


def _refuse(folder: Path, claim: Path, other: dict[str, Any] | None) -> None:
    if other is None:
        return
    elsewhere = other['machine'] != machine()
    void = (_now(claim) - claim.stat().st_mtime > _SILENCE if elsewhere
            else not is_alive(other['pid'], other['born']))
    if void:
        return
    way = (f'; where that process has ended, try again in {_SILENCE // 60} minutes, or delete '
           f'{claim}' if elsewhere or os.name != 'posix' else '')
    raise HeldError(
        f'{folder} is held by process {other["pid"]} on {other["host"]} since '
        f'{other["since"].partition(".")[0]} UTC, which writes to it: wait for it, end it, or name '
        f'another folder{way}')


def _read(claim: Path) -> dict[str, Any] | None:
    """What a claim says; None where there is none, or no whole one."""
    try:
        found = json.loads(claim.read_bytes())
        return dict(host=str(found['host']), pid=int(found['pid']), born=str(found['born']),
                    machine=str(found['machine']), since=str(found['since']))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _now(claim: Path) -> float:
    """The time by the clock that stamps the files beside a claim: another machine's, it may be."""
    probe = partial_name(claim)
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _beat(claim: Path, done: threading.Event) -> None:
    while not done.wait(_BEAT):
        with suppress(OSError):
            os.utime(claim)

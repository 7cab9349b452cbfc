"""Which process is which, whether it is still there, and children that end with their parent."""

import ctypes
import hashlib
import os
import signal
import socket
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

_UNKNOWN = '-'
_PR_SET_PDEATHSIG = 1  # of prctl(2)
# Sets that signal and becomes the command; no code of a forked copy of this process runs.
_LAUNCHER = f'''import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the process that started this one has ended")
os.execvp(sys.argv[2], sys.argv[2:])'''


def usable_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):  # of Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache(maxsize=1)
def machine() -> str:
    """Eight digits of where process ids are those of this process: host, and container on Linux."""
    try:
        space = os.readlink('/proc/self/ns/pid')
    except OSError:
        space = ''
    return _digits(f'{socket.gethostname()} {space}')


def born(pid: int) -> str:
    """Eight digits of when a process started, '-' where the system does not tell, '' if it ended.

    Another process that got the same id has others, after a restart of the machine too.
    """
    try:
        state, *fields = Path(f'/proc/{pid}/stat').read_bytes().rpartition(b')')[2].split()
        boot = Path('/proc/sys/kernel/random/boot_id').read_bytes()
    except (OSError, ValueError):
        return _UNKNOWN
    return '' if state in (b'Z', b'X') else _digits(f'{boot!r} {fields[18]!r}')


def is_alive(pid: int, when: str) -> bool:
    """Whether a process of this machine, known by its id and :func:`born`, is there.

    Where the system does not tell (Windows), it is taken to be.
    """
    if os.name != 'posix':
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    now = born(pid)
    return _UNKNOWN in (now, when) or now == when != ''


def end_with_parent() -> None:
    """End this process when the one that started it has ended; only Linux can."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def ending_with_parent(command: Sequence[str]) -> list[str]:
    """A command that ends (SIGTERM) when this process has ended, ``kill -9`` included.

    Only Linux can; elsewhere it is the same command. Start it from a thread that lives as long as
    it may run: to the system that thread is the parent.
    """
    if sys.platform != 'linux':
        return list(command)
    return [sys.executable, '-I', '-S', '-c', _LAUNCHER, str(os.getpid()), *command]


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]

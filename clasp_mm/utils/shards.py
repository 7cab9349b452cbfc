"""Work in blocks that processes share by a folder: the file of a block is whole or not there."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .files import locked, replacing


def own_process() -> tuple[int, int]:
    """Number of this process, and how many torchrun started; 0 and 1 without it."""
    return int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))


def digest(*values: Any) -> str:
    """Twelve hexadecimal digits of plain data, paths and arrays, and of objects that hold them."""
    found = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, np.ndarray):
            found.update(value.tobytes())
        elif isinstance(value, Mapping):
            add(list(value.items()))
        elif isinstance(value, list | tuple):
            for one in value:
                add(one)
        elif hasattr(value, '__dict__') and not isinstance(value, os.PathLike):
            add(vars(value))
        else:
            found.update(repr(value).encode())
    add(values)
    return found.hexdigest()[:12]


class Blocks:
    """The blocks of a work and what is done of them.

    A process does every ``world_size``-th block; the one that finishes last puts the files together
    in their order. Killed ones go on with what is not done, of any number of processes.

    Args:
        folder: Folder of the files; its name must change with all that decides what is in them.
            It is there from the first file until they are put together.
        count: Blocks of the whole work.
        rank: Number of this process.
        world_size: Number of processes.

    Raises:
        ValueError: There is no such process.
    """

    def __init__(self, folder: str | os.PathLike, count: int, rank: int = 0,
                 world_size: int = 1) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f'rank {rank} is none of {world_size} processes')
        self.folder, self.count = Path(folder), count
        self.rank, self.world_size = rank, world_size

    def own(self) -> list[int]:
        """Blocks that this process has to do; asked once, all processes of torchrun at a time."""
        todo = [block for block in range(self.rank, self.count, self.world_size)
                if not self._path(block).exists()]
        if self.world_size > 1 and 'RANK' in os.environ:
            _meet()
        return todo

    def write(self, block: int, data: bytes) -> None:
        """Write the file of a block."""
        with replacing(self._path(block)) as partial:
            partial.write_bytes(data)

    @contextmanager
    def finishing(self) -> Iterator[list[Path] | None]:
        """All files, for one process that finds them all; for others None.

        They go at the end, or with a ValueError, which every later run would meet again.
        """
        with locked(self.folder):
            paths = [self._path(block) for block in range(self.count)]
            if not all(path.exists() for path in paths):
                yield None
                return
            try:
                yield paths
            except ValueError:
                shutil.rmtree(self.folder, ignore_errors=True)
                raise
            shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, block: int) -> Path:
        return self.folder / f'{block:08d}'


def _meet() -> None:
    """Wait until all processes have come so far: none puts together what another has not seen."""
    import torch.distributed as dist
    own = not dist.is_initialized()
    if own:
        dist.init_process_group('gloo')
    dist.barrier()
    if own:
        dist.destroy_process_group()

"""Data of LUPerson's size, of tiny images, made and read: what millions cost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader

from clasp_mm.datasets import LUPerson
from clasp_mm.datasets.array_sampler import ArraySampler
from clasp_mm.pseudo_labels.hashing import hash_names
from clasp_mm.pseudo_labels.labels import LabelSettings, PseudoLabels
from clasp_mm.pseudo_labels.store import LabelStore, StoreWriter, make_header
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY

GRID = (8, 4)
_ROWS, _BATCH = 1 << 16, 256


def name_of(index: int) -> str:
    """Names in byte order, as long as LUPerson's."""
    return f'{index // 1000:05d}/{index:08d}.jpg'


def write_list(path: Path, count: int) -> None:
    """A list file of ``count`` names."""
    with path.open('w', encoding='utf-8') as file:
        for start in range(0, count, _ROWS):
            file.write(''.join(f'{name_of(i)}\n' for i in range(start, min(start + _ROWS, count))))


def write_lmdb(path: Path, count: int) -> None:
    """An LMDB of those names, with a few different 32 x 16 JPEGs over and over."""
    import lmdb
    rng = np.random.default_rng(0)
    images = [cv2.imencode('.jpg', cv2.resize(rng.integers(0, 255, (4, 2, 3), np.uint8), (16, 32),
                                              interpolation=cv2.INTER_CUBIC))[1].tobytes()
              for _ in range(7)]
    path.mkdir(parents=True)
    size = count * 2 * max(len(image) for image in images) + (1 << 28)
    with lmdb.open(str(path), map_size=size, sync=False) as environment:
        for start in range(0, count, _ROWS):
            with environment.begin(write=True) as transaction:
                transaction.cursor().putmulti(
                    [(name_of(i).encode(), images[i % len(images)])
                     for i in range(start, min(start + _ROWS, count))], append=True)


def write_store(path: Path, count: int) -> LabelStore:
    """A label store for those names, of random labels on a tiny grid."""
    hashes = hash_names(name_of(i) for i in range(count))
    settings, rng = LabelSettings(), np.random.default_rng(0)
    header = make_header(hashes, DEFAULT_VOCABULARY, 'none', 'none', settings, GRID)
    numbers, num_attributes = settings.cluster_numbers, len(DEFAULT_VOCABULARY.attributes)
    sizes = np.array(DEFAULT_VOCABULARY.attribute_sizes)
    block = PseudoLabels(
        regions=np.stack([rng.integers(0, k + 1, (_ROWS, GRID[0] * GRID[1])) for k in numbers],
                         1).astype(np.uint8),
        region_label=rng.integers(1, 10, (_ROWS, sum(numbers))).astype(np.uint8),
        region_conf=rng.random((_ROWS, sum(numbers))).astype(np.float16),
        attr_value=rng.integers(0, sizes, (_ROWS, num_attributes)).astype(np.uint8),
        attr_conf=rng.random((_ROWS, num_attributes)).astype(np.float16),
        foreground=rng.random(_ROWS).astype(np.float32),
        person_cosine=rng.random(_ROWS).astype(np.float32))
    with StoreWriter(path, header, hashes) as writer:
        for start in range(0, count, _ROWS):
            rows = np.arange(start, min(start + _ROWS, count))
            some = PseudoLabels(**{name: value[:len(rows)] for name, value in vars(block).items()})
            writer.write(rows, some, np.ones(len(rows), bool))
        store = writer.finish()
    return store


def memory(process: int | None = None) -> dict[str, float]:
    """Memory of a process in MB.

    Returns:
        ``pss``, its share of all; ``own``, nobody else's; ``anonymous``, its share of what is no
        mapped file; ``written``, what it has written itself.
    """
    text = Path(f'/proc/{process or os.getpid()}/smaps_rollup').read_text('utf-8')
    kib = {line.split(':')[0]: int(line.split()[1]) for line in text.splitlines()[1:]}
    own = kib['Private_Clean'] + kib['Private_Dirty']
    return {name: value / 1024 for name, value in dict(
        pss=kib['Pss'], own=own, anonymous=kib.get('Pss_Anon', kib['Anonymous']),
        written=kib['Private_Dirty']).items()}


class _Clock:
    """Wall and processor seconds of named steps, and the memory after each."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say, self.steps = say, {}

    def __call__(self, name: str, call: Callable[[], Any]) -> Any:
        self.say(name)
        wall, processor = time.perf_counter(), time.process_time()
        value = call()
        self.steps[name] = dict(seconds=time.perf_counter() - wall,
                                processor_seconds=time.process_time() - processor, **memory())
        return value


def make_scale(folder: str | os.PathLike, count: int,
               say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Make a list, an LMDB and a label store of ``count`` entries in a folder.

    Args:
        folder: Where; created if need be.
        count: Number of entries.
        say: Told what begins.

    Returns:
        ``steps`` as of :func:`measure_scale`, ``bytes`` of each on disk.
    """
    folder, clock = Path(folder), _Clock(say)
    folder.mkdir(parents=True, exist_ok=True)
    clock('write list', lambda: write_list(folder / 'list.txt', count))
    clock('write LMDB', lambda: write_lmdb(folder / 'lmdb', count))
    clock('write store', lambda: write_store(folder / 'store', count))
    sizes = {path.name: sum(f.stat().st_size for f in path.rglob('*') if f.is_file())
             if path.is_dir() else path.stat().st_size for path in sorted(folder.iterdir())}
    return dict(steps=clock.steps, bytes=sizes)


def measure_scale(folder: str | os.PathLike, count: int, num_reads: int = 20_000,
                  num_workers: int = 2, say: Callable[[str], None] = lambda _: None,
                  ) -> dict[str, Any]:
    """Measure the use of what :func:`make_scale` made.

    Args:
        folder: Where it lies.
        count: Number of its entries.
        num_reads: Images and labels to read for a rate.
        num_workers: Loading processes.
        say: Told what begins.

    Returns:
        ``steps``: for each, wall and processor seconds and the main process's memory in MB after
        it (see :func:`memory`); ``rate`` per second; ``workers``: the memory of each;
        ``names_agree``; ``labels_differ``.
    """
    folder, clock = Path(folder), _Clock(say)
    result: dict[str, Any] = dict(count=count, steps=clock.steps, rate={})
    dataset = clock('start from list and LMDB', lambda: LUPerson(
        str(folder / 'lmdb'), str(folder / 'list.txt'), pipeline=[_who_read]))
    result['rate']['images'], result['workers'] = clock(
        'read images', lambda: _load(dataset, num_reads, num_workers))
    for name, kind in (('shuffle', ArraySampler), ('shuffle as MMEngine', DefaultSampler)):
        order = clock(name, lambda kind=kind: _begun(kind(dataset, shuffle=True, seed=0)))
        del order

    store = clock('open store', lambda: LabelStore(folder / 'store'))
    clock('first label', lambda: store.lookup(name_of(0)))
    names = [name_of(i) for i in np.random.default_rng(1).integers(0, count, num_reads).tolist()]
    labels = clock('read labels', lambda: [store.lookup(name) for name in names])
    result['rate']['labels'] = num_reads / clock.steps['read labels']['seconds']
    result['labels_differ'] = len({one.foreground[0].item() for one in labels}) > 1

    scanned = clock('start from LMDB alone', lambda: LUPerson(str(folder / 'lmdb')))
    result['names_agree'] = all(scanned.names[i] == dataset.names[i] == name_of(i)
                                for i in np.linspace(0, count - 1, 100).astype(int).tolist())
    return result


def _load(dataset: LUPerson, num_reads: int, num_workers: int,
          ) -> tuple[float, list[dict[str, float]]]:
    """Images per second after the first batch, and each worker's memory at the end."""
    rows = np.random.default_rng(0).integers(0, len(dataset), num_reads).tolist()
    loader = DataLoader(dataset, _BATCH, sampler=rows, num_workers=num_workers, collate_fn=_as_is,
                        persistent_workers=True)
    batches = iter(loader)
    workers = set(next(batches))
    done, begin = 0, time.perf_counter()
    for batch in batches:
        done += len(batch)
        workers.update(batch)
    rate = done / (time.perf_counter() - begin)
    return rate, [memory(worker) for worker in sorted(workers)]


def _begun(sampler: DefaultSampler) -> Iterator[int]:
    order = iter(sampler)
    next(order)
    return order


def _as_is(batch: list[int]) -> list[int]:
    return batch


def _who_read(_: dict) -> int:
    """In place of a sample, the process that read it."""
    return os.getpid()

"""Run benchmarks by name and write what they gave."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import cv2
import mmpretrain
import PIL
import sklearn
import torch
import torchvision
from mmengine.logging import MMLogger

from clasp_mm.utils.names import did_you_mean
from clasp_mm.utils.timing import threads
from clasp_mm.version import __version__

from .backbone import backbone
from .conflict import conflict
from .contest import Options, Row
from .data import data
from .downstream import attribute, detection, parsing, pose
from .exported import export
from .inference import inference
from .labels import labels
from .launches import launches
from .multi_task import multi_task
from .operators import operators
from .person_search import person_search
from .reid import reid
from .step import step

BENCHMARKS: dict[str, Callable[[Options], Iterator[Row]]] = dict(
    backbone=backbone, step=step, labels=labels, data=data, launches=launches, pose=pose,
    parsing=parsing, detection=detection, attribute=attribute, reid=reid,
    person_search=person_search, inference=inference,
    multi_task=multi_task, operators=operators, export=export, conflict=conflict)
_GROUPS = dict(all=('backbone', 'step', 'labels', 'data'),
               downstream=('pose', 'parsing', 'detection'))  # which need the hosts
_PER_CORE = ('labels', 'data')  # quoted per core; the others take all


def benchmark_names(names: Iterable[str]) -> list[str]:
    """The benchmarks named, in the order of the table.

    ``downstream`` names those that need the hosts, ``all`` the others.

    Raises:
        ValueError: For an unknown name, with the nearest one; or for none at all.
    """
    names = list(names)
    known = [*BENCHMARKS, *_GROUPS]
    for name in names:
        if name not in known:
            raise ValueError(f'unknown benchmark {name!r}: {", ".join(known)}'
                             + did_you_mean(name, known))
    if not names:
        raise ValueError(f'name a benchmark: {", ".join(known)}')
    chosen = {one for name in names for one in _GROUPS.get(name, (name, ))}
    return [name for name in BENCHMARKS if name in chosen]


def run_benchmarks(names: Iterable[str], options: Options) -> Iterator[Row]:
    """Run the named benchmarks, row by row.

    Without a number of threads asked for, ``labels`` and ``data``, which are quoted per core, get
    one and the others one per core.
    """
    level = MMLogger.get_current_instance().level
    for name in benchmark_names(names):
        number = options.threads or (1 if name in _PER_CORE else os.cpu_count())
        with threads(number):
            MMLogger.get_current_instance().setLevel('ERROR')
            try:
                for row in BENCHMARKS[name](options):
                    row.details |= dict(threads=number, load_average=os.getloadavg()[0])
                    yield row
            finally:
                MMLogger.get_current_instance().setLevel(level)


def report_of(rows: Sequence[Row], options: Options) -> dict[str, Any]:
    """Rows, options and environment as plain data."""
    device = (torch.cuda.get_device_name(options.device) if options.device != 'cpu'
              else platform.processor() or platform.machine())
    versions = dict(clasp_mm=__version__, python=platform.python_version(),
                    torch=torch.__version__, torchvision=torchvision.__version__,
                    mmpretrain=mmpretrain.__version__, sklearn=sklearn.__version__,
                    pillow=PIL.__version__, opencv=cv2.__version__)
    return dict(environment=dict(device=device, cores=os.cpu_count(), **versions),
                options=asdict(options), rows=[row.to_dict() for row in rows])

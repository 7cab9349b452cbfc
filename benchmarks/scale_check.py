"""Make a list, an LMDB and a label store of LUPerson's size, of tiny images, and measure them.

Start-up time, memory of each loading process, shuffling, images and labels per second, sizes on
disk. At full size it takes about 10 GB of disk, which are freed at the end.
"""

import argparse
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor

from clasp_mm.cli.options import add_out
from clasp_mm.utils.files import write_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``tools/analysis/scale_check.py``."""
    parser.add_argument('--count', type=int, default=4_180_000, help='images (%(default)s)')
    parser.add_argument('--reads', type=int, default=20_000,
                        help='images and labels read for a rate (%(default)s)')
    parser.add_argument('--workers', type=int, default=2, help='loading processes (%(default)s)')
    parser.add_argument('--dir', help='where to put the data (default: the temporary folder)')
    add_out(parser, 'work_dirs/scale_check')


def run(args: argparse.Namespace) -> None:
    """Measure, print the figures and write them to ``scale.json``."""
    from rich.console import Console
    from rich.table import Table

    from .scale import make_scale, measure_scale
    console = Console()
    with tempfile.TemporaryDirectory(dir=args.dir, prefix='scale_check.') as folder:
        # In a process of its own, whose memory does not count.
        with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as maker:
            made = maker.submit(make_scale, folder, args.count, print).result()
        result = measure_scale(folder, args.count, args.reads, args.workers, console.log)
    result.update(bytes=made['bytes'], steps={**made['steps'], **result['steps']})
    steps = Table('step', 'seconds', 'of the processor', 'MB, anonymous', 'MB, written',
                  title=f'{args.count} images, main process')
    for name, step in result['steps'].items():
        steps.add_row(name, *(f'{step[key]:.2f}' for key in ('seconds', 'processor_seconds')),
                      *(f'{step[key]:.0f}' for key in ('anonymous', 'written')))
    console.print(steps)
    for i, memory in enumerate(result['workers']):
        console.print(f'worker {i}: ' + ', '.join(f'{k} {v:.0f} MB' for k, v in memory.items()))
    for name, rate in result['rate'].items():
        console.print(f'{name}: {rate:.0f} per second')
    for name, size in result['bytes'].items():
        console.print(f'{name}: {size / 1e9:.2f} GB')
    write_json(args.out / 'scale.json', result)

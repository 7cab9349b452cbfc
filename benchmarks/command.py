"""``clasp benchmark``: what it runs and prints."""

import argparse
import sys

from rich.console import Console

from clasp_mm.utils.device import announce_device, set_matmul_precision

from .contest import Options, profile_table, table
from .run import benchmark_names, run_benchmarks, write_report


def run(args: argparse.Namespace) -> None:
    """Run what the command line names, and print the table.

    Raises:
        ValueError: There is no such benchmark, device or precision.
    """
    console = Console(width=None if sys.stdout.isatty() else 140)  # a log gets whole rows
    set_matmul_precision(args.float32_precision)
    options = Options(
        device=str(announce_device(args.device)), threads=args.threads, repeats=args.repeats,
        amp=args.amp, compiled=args.compile, quick=args.quick, profile=args.profile,
        batch_size=args.batch_size)
    names = benchmark_names(args.benchmarks)
    rows = []
    for row in run_benchmarks(names, options):
        rows.append(row)
        console.print(f'{row.name}: {row.what}; against {row.peer}', soft_wrap=True)
        if row.profile:
            console.print(profile_table(row))
        if args.json:
            write_report(args.json, rows, options)
    console.print(table(rows, f'{options.device}, medians of {options.repeats}'))

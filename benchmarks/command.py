"""``clasp benchmark``: what it runs and prints."""

import argparse
import json
import sys

from rich.console import Console

from clasp_mm.utils.files import write_json

from .contest import Options, profile_table, table
from .run import benchmark_names, report_of, run_benchmarks


def run(args: argparse.Namespace) -> None:
    """Run what the command line names, write what it gave after each row, and print the table.

    Raises:
        ValueError: There is no such benchmark.
    """
    console = Console(stderr=args.json,
                      width=None if sys.stdout.isatty() else 140)  # a log gets whole rows
    options = Options(
        device=str(args.device), threads=args.threads, repeats=args.repeats,
        amp=args.amp, compiled=args.compile, quick=args.quick, profile=args.profile,
        batch_size=args.batch_size)
    names = benchmark_names(args.benchmarks)
    rows = []
    for row in run_benchmarks(names, options):
        rows.append(row)
        console.print(f'{row.name}: {row.what}; against {row.peer}', soft_wrap=True)
        if row.profile:
            console.print(profile_table(row))
        write_json(args.out / 'benchmark.json', report_of(rows, options))
    if args.json:
        print(json.dumps(report_of(rows, options), indent=1))
    else:
        console.print(table(rows, f'{options.device}, medians of {options.repeats}'))

"""Write a run's page: health, curves, tables and pictures in one file that needs no server."""

import argparse

from .options import add_device

EPILOG = """\
The page is WORK_DIR/report.html; in it are tables (*.md) and pictures (*.png) of WORK_DIR/analysis,
where the other analyses may write (--out WORK_DIR/analysis). --data also runs, on the last
checkpoint, expert use, t-SNE (where the data have ground truth) and task conflict first.

examples:
  clasp analyse run work_dirs/my_run
  clasp analyse run work_dirs/quickstart/seed0/clasp --data work_dirs/quickstart/data/held_out
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('work_dir', help='folder of a run')
    parser.add_argument('--data', metavar='FOLDER', help='images to run the analyses on')
    parser.add_argument('--batches', type=int, default=8,
                        help='of the training data, for the conflict (%(default)s)')
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    from clasp_mm.engine.run_report import write_run_report
    if args.data:
        from clasp_mm.analysis.run import analyse_run
        found = analyse_run(args.work_dir, args.data, args.device, args.batches)
        for name, table in found.items():
            print(f'{name}\n{table}\n')
    print(write_run_report(args.work_dir))

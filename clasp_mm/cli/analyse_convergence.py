"""Epochs and time that fine-tuning runs take to a score, from their logs (CLASP, Table XIII)."""

import argparse
from pathlib import Path

from .options import add_out, usage

EPILOG = """\
example:
  clasp analyse convergence work_dirs/reid_dino work_dirs/reid_clasp --names DINO CLASP \\
      --metric reid/mAP --target 90
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('runs', nargs='+', metavar='WORK_DIR', help='fine-tuning runs')
    parser.add_argument('--names', nargs='+', help='(default: the folders\')')
    parser.add_argument('--metric', required=True, help='as it is logged: reid/mAP, coco/AP')
    parser.add_argument('--target', type=float, required=True, help='score to reach')
    parser.add_argument('--lower-is-better', action='store_true', help='as for a miss rate')
    add_out(parser)


def run(args: argparse.Namespace) -> None:
    names = args.names or [Path(run).name for run in args.runs]
    if len(names) != len(args.runs) or len(set(names)) != len(names):
        usage(f'{len(args.runs)} runs need as many different --names, got {names}')
    import math

    from clasp_mm.analysis.convergence import convergence_table, read_validations
    from clasp_mm.visualization.analysis import draw_convergence
    from clasp_mm.visualization.analysis_page import write_analysis
    runs = {name: read_validations(run, args.metric)
            for name, run in zip(names, args.runs, strict=True)}
    epochs = not any(math.isnan(row['epoch']) for rows in runs.values() for row in rows)
    key = 'epoch' if epochs else 'hours'
    curves = {name: ([row[key] for row in rows], [row['score'] for row in rows])
              for name, rows in runs.items()}
    table = convergence_table(runs, args.metric, args.target, args.lower_is_better)
    print(write_analysis(args.out / 'convergence', table, runs, {
        'convergence': draw_convergence(curves, args.target, args.metric, key)}))

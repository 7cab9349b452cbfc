#!/usr/bin/env python
"""Epochs and time that fine-tuning runs take to a score, from their logs (CLASP, Table XIII)."""

import argparse
import math
import sys
from pathlib import Path

EPILOG = """\
example:
  python tools/analysis/convergence.py work_dirs/reid_dino work_dirs/reid_clasp \\
      --names DINO CLASP --metric mAP --target 90
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', nargs='+', metavar='WORK_DIR', help='fine-tuning runs')
    parser.add_argument('--names', nargs='+', help='(default: the folders\')')
    parser.add_argument('--metric', required=True, help='as it is logged: mAP, coco/AP')
    parser.add_argument('--target', type=float, required=True, help='score to reach')
    parser.add_argument('--lower-is-better', action='store_true', help='as for a miss rate')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/convergence'), metavar='STEM',
                        help='STEM.png, .json and .md (%(default)s)')
    args = parser.parse_args()
    args.names = args.names or [Path(run).name for run in args.runs]
    if len(args.names) != len(args.runs) or len(set(args.names)) != len(args.names):
        parser.error(f'{len(args.runs)} runs need as many different --names, got {args.names}')
    return args


def main() -> None:
    args = parse_args()
    from clasp_mm.analysis.convergence import convergence_table, read_validations  # slow
    from clasp_mm.visualization.analysis import draw_convergence
    from clasp_mm.visualization.analysis_page import write_analysis
    try:
        runs = {name: read_validations(run, args.metric)
                for name, run in zip(args.names, args.runs, strict=True)}
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'convergence.py: {error}')
    epochs = not any(math.isnan(row['epoch']) for rows in runs.values() for row in rows)
    key = 'epoch' if epochs else 'hours'
    curves = {name: ([row[key] for row in rows], [row['score'] for row in rows])
              for name, rows in runs.items()}
    table = convergence_table(runs, args.metric, args.target, args.lower_is_better)
    print(write_analysis(args.out, table, runs, {
        args.out.name: draw_convergence(curves, args.target, args.metric, key)}))


if __name__ == '__main__':
    main()

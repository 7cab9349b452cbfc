#!/usr/bin/env python
"""Train, score and tabulate the rows of one of the paper's ablation tables, or five systems."""

import argparse
import sys
from pathlib import Path

from clasp_mm.compat import allow_mmengine_checkpoints, quiet_mmcv_lite

EPILOG = """\
Rows are the configs of configs/ablations (see its README) on the quickstart's nano Swin and
synthetic people. All rows of a seed start from the same DINO, see the same images, labels and
number of steps. Frozen features are scored on all six tasks; with "systems" each single prompt
too. Writes TABLE.md, .csv, .json and .png below the work_dir. What is done is not done again:
call it once more to go on after an interruption, or to add seeds.

examples:
  python tools/run_ablation.py --table I --budget quickstart --seeds 3
  python tools/run_ablation.py --table systems          # the README's proof
  python tools/run_ablation.py --table IV --processes 4 --parallel 1     # 4 GPUs for each row
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--table', required=True, choices=('I', 'II', 'III', 'IV', 'systems'))
    parser.add_argument('--budget', default='quickstart', choices=('quickstart', 'long'),
                        help='256 or 768 synthetic people to pretrain on (%(default)s)')
    parser.add_argument('--seeds', type=int, default=3, help='how many (%(default)s)')
    parser.add_argument('--work-dir', type=Path,
                        help='(default: work_dirs/ablation/BUDGET, which all tables share)')
    parser.add_argument('--parallel', type=int, default=2,
                        help='trainings at the same time (%(default)s)')
    parser.add_argument('--processes', type=int, default=1,
                        help='of each training, by tools/dist_train.sh (%(default)s)')
    parser.add_argument('--epochs', type=int, nargs=2, metavar=('STAGE1', 'STAGE2'),
                        help='epochs of both stages; by default those of the configs')
    parser.add_argument('--identities', type=int, metavar='N',
                        help="synthetic people, in place of the budget's")
    args = parser.parse_args()
    for name in ('seeds', 'parallel', 'processes', 'identities'):
        if (value := getattr(args, name)) is not None and value < 1:
            parser.error(f'--{name} must be at least 1, got {value}')
    if args.epochs and min(args.epochs) < 2:
        parser.error(f'--epochs: a stage takes at least 2, the first warms up; got {args.epochs}')
    return args


def main() -> None:
    args = parse_args()
    quiet_mmcv_lite()
    from clasp_mm.experiments.ablation.page import write_table  # slow, and not for --help
    from clasp_mm.experiments.ablation.run import AblationOptions, run_ablation
    allow_mmengine_checkpoints()
    options = vars(args)
    options['work_dir'] = args.work_dir or Path('work_dirs/ablation') / args.budget
    options['epochs'] = args.epochs and tuple(args.epochs)
    try:
        print(write_table(run_ablation(AblationOptions(**options)), args.work_dir))
    except (RuntimeError, ValueError) as error:
        sys.exit(f'run_ablation.py: {error}')


if __name__ == '__main__':
    main()

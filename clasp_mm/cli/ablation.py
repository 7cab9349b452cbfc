"""Train, score and tabulate the rows of the paper's ablation tables, or five systems."""

import argparse
from pathlib import Path

from .options import add_epochs, add_size, check_counts

EPILOG = """\
Rows are the configs of configs/ablations (see its README) on the quickstart's nano Swin and
synthetic people. All rows of a seed start from the same DINO, see the same images, labels and
number of steps. Frozen features are scored on all six tasks; with "systems" each single prompt
too. Writes TABLE.md, .csv, .json and .png below --out. What is done is not done again:
call it once more to go on after an interruption, or to add seeds.

examples:
  clasp ablation --table I --budget quickstart --seeds 3
  clasp ablation --table I II III IV systems            # one after the other
  clasp ablation --table systems                        # at the quickstart's size
  clasp ablation --table systems --budget long          # the README's table: two hours
  clasp ablation --table balance --seeds 1              # of the experts
  clasp ablation --table IV --processes 4 --parallel 1  # 4 GPUs for each row
  clasp ablation --table systems --budget long --arch tiny --size 256 128 --parallel 1  # a GPU
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--table', required=True, nargs='+',
                        choices=('I', 'II', 'III', 'IV', 'balance', 'labels', 'systems'),
                        help='of the paper; balance: of the experts; labels: true ones for '
                        "CLIP's; systems: DINO to CLASP side by side")
    parser.add_argument('--budget', default='quickstart', choices=('quickstart', 'long'),
                        help='256 people and 448 steps a row, or 2,000 and 2,000 (%(default)s)')
    parser.add_argument('--seeds', type=int, default=3, help='how many (%(default)s)')
    parser.add_argument('--out', type=Path, metavar='DIR',
                        help='(default: work_dirs/ablation/BUDGET, which all tables share)')
    parser.add_argument('--parallel', type=int, default=2,
                        help='trainings at the same time (%(default)s)')
    parser.add_argument('--processes', type=int, default=1,
                        help='of each training, by tools/dist_train.sh (%(default)s)')
    add_epochs(parser)
    parser.add_argument('--identities', type=int, metavar='N',
                        help="synthetic people to pretrain on, in place of the budget's")
    parser.add_argument('--held-out', type=int, metavar='N',
                        help="synthetic people to score on, in place of the budget's")
    add_size(parser, None, ", in place of the budget's 64 32")
    parser.add_argument('--arch', choices=('nano', 'tiny', 'small', 'base'),
                        help="of the Swin, in place of the budget's nano")


def run(args: argparse.Namespace) -> None:
    check_counts(args, 'seeds', 'parallel', 'processes', 'identities', 'held_out')
    from clasp_mm.experiments.ablation.page import write_table
    from clasp_mm.experiments.ablation.run import Ablation
    work_dir = args.out or Path('work_dirs/ablation') / args.budget
    replaced = dict(epochs=args.epochs and tuple(args.epochs), identities=args.identities,
                    held_out=args.held_out, size=args.size and tuple(args.size), arch=args.arch)
    replaced = {name: value for name, value in replaced.items() if value is not None}
    for table in args.table:
        ablation = Ablation(table, work_dir, args.budget, args.seeds, args.parallel,
                            args.processes, **replaced)
        print(write_table(ablation.run(), work_dir))

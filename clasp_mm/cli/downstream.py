"""Fine-tune a task from pretrained backbones and from random weights, and compare them."""

import argparse
from pathlib import Path

from .options import TASKS, check_counts, usage

EPILOG = """\
Draws the task's data, trains configs/quickstart/TASK_*.py from every start with the same budget and
seed, and writes work_dirs/quickstart_downstream/TASK.md and .json (TASK-N-DIR of --train-images N
--systems DIR). Minutes on two cores; what is done is not done again.

examples:
  clasp downstream pose --seeds 3                    # after clasp quickstart --seeds 3
  clasp downstream reid --systems work_dirs/ablation/long --seeds 3 --train-images 80
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('task', choices=TASKS, help='to fine-tune')
    parser.add_argument('--backbone', type=Path, metavar='FILE',
                        help='published backbone for all seeds (default: for each seed that of '
                             "the quickstart's same seed)")
    parser.add_argument('--systems', type=Path, metavar='DIR',
                        help='start from the systems of clasp ablation --table systems --out DIR')
    parser.add_argument('--only', nargs='+', default=(), metavar='SYSTEM',
                        help='some of them, such as CLASP (default: all)')
    parser.add_argument('--prompts', nargs='+', default=(), metavar='TASK',
                        help="also fine-tune the backbone under other prompts than the config's")
    parser.add_argument('--train-images', type=int, metavar='N',
                        help='labelled images to train on, in as many steps (default: all of the '
                             "task's); N must divide their number")
    parser.add_argument('--seeds', type=int, default=1, help='how many (%(default)s)')
    parser.add_argument('--parallel', type=int, default=2,
                        help='trainings at the same time (%(default)s)')


def run(args: argparse.Namespace) -> None:
    check_counts(args, 'seeds', 'train_images', 'parallel')
    if args.systems is None and args.only:
        usage('--only names systems of a folder: give --systems DIR too')
    if args.systems is not None and (args.backbone or args.prompts):
        usage('--systems DIR takes its own backbones and the configs\' prompts: leave out '
              '--backbone and --prompts')
    from clasp_mm.experiments.downstream import quickstart_starts, run_downstream, system_starts
    starts = (quickstart_starts(args.backbone, args.seeds, args.prompts) if args.systems is None
              else system_starts(args.systems, args.seeds, args.only))
    run_downstream(args.task, starts, args.seeds, args.train_images, args.systems, args.parallel)

"""Fine-tune a task from the quickstart's backbone and from random weights, and compare them."""

import argparse
from pathlib import Path

from .options import TASKS, check_counts

EPILOG = """\
Draws the task's data, trains configs/quickstart/TASK_*.py from both starts with the same budget and
seed, and writes work_dirs/quickstart_downstream/TASK.md and .json. Minutes on two cores; what is
done is not done again.

example, after clasp quickstart --seeds 3:
  clasp downstream pose --seeds 3
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('task', choices=TASKS, help='to fine-tune')
    parser.add_argument('--backbone', type=Path, metavar='FILE',
                        help='published backbone for all seeds (default: for each seed that of '
                             "the quickstart's same seed)")
    parser.add_argument('--prompts', nargs='+', default=(), metavar='TASK',
                        help="also fine-tune the backbone under other prompts than the config's")
    parser.add_argument('--train-images', type=int, metavar='N',
                        help='labelled images to train on, in as many steps (default: all of the '
                             "task's); N must divide their number")
    parser.add_argument('--seeds', type=int, default=1, help='how many (%(default)s)')


def run(args: argparse.Namespace) -> None:
    check_counts(args, 'seeds', 'train_images')
    from clasp_mm.experiments.downstream import run_downstream
    run_downstream(args.task, args.backbone, args.seeds, args.prompts, args.train_images)

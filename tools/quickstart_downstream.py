#!/usr/bin/env python
"""Fine-tune a task from the quickstart's backbone and from random weights, and compare them."""

import argparse
import sys
from pathlib import Path

from clasp_mm.compat import allow_mmengine_checkpoints, quiet_mmcv_lite

EPILOG = """\
Draws the task's data, trains configs/quickstart/TASK_*.py from both starts with the same budget and
seed, and writes work_dirs/quickstart_downstream/TASK.md and .json. Minutes on two cores; what is
done is not done again.

example, after bash tools/quickstart.sh --seeds 3:
  python tools/quickstart_downstream.py pose --seeds 3
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('task', choices=('pose', 'parsing', 'detection', 'attribute', 'reid',
                                         'person_search'))
    parser.add_argument('--backbone', type=Path, metavar='FILE',
                        help='published backbone for all seeds (default: for each seed that of '
                             "the quickstart's same seed)")
    parser.add_argument('--prompts', nargs='+', default=(), metavar='TASK',
                        help="also fine-tune the backbone under other prompts than the config's")
    parser.add_argument('--train-images', type=int, metavar='N',
                        help='labelled images to train on, in as many steps (default: all of the '
                             "task's); N must divide their number")
    parser.add_argument('--seeds', type=int, default=1, help='how many (%(default)s)')
    args = parser.parse_args()
    for name in ('seeds', 'train_images'):
        if (value := getattr(args, name)) is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1, got {value}')
    return args


def main() -> None:
    args = parse_args()
    quiet_mmcv_lite()
    from clasp_mm.experiments.downstream import run_downstream  # slow, and not for --help
    allow_mmengine_checkpoints()
    try:
        run_downstream(args.task, args.backbone, args.seeds, args.prompts,
                       args.train_images)
    except (FileNotFoundError, RuntimeError, ValueError) as error:
        sys.exit(f'quickstart_downstream.py: {error}')


if __name__ == '__main__':
    main()

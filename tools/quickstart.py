#!/usr/bin/env python
"""The main job: synthetic people -> mini CLIP -> DINO -> pseudo-labels -> CLASP -> report."""

import argparse
import sys
from pathlib import Path

from clasp_mm.compat import allow_mmengine_checkpoints, quiet_mmcv_lite
from clasp_mm.utils.files import printable


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Pretrain a nano CLASP end to end and report what it learned, on synthetic '
        'people (about 8 minutes on two cores) or on your own crops. What is done is not done '
        'again: call it once more to go on after an interruption.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/quickstart'),
                        help='everything is written below it')
    parser.add_argument('--seeds', type=int, default=1,
                        help='pretrain with that many seeds and report mean and spread')
    parser.add_argument('--images', type=Path, metavar='DIR',
                        help='your own person crops in place of synthetic people; the rows that '
                        'need ground truth are left out')
    parser.add_argument('--clip', metavar='NAME',
                        help='open_clip model that makes the pseudo-labels; by default a mini '
                        'CLIP is trained on synthetic people, which knows no real photographs')
    parser.add_argument('--clip-pretrained', metavar='TAG|FILE',
                        help='weights of --clip: a tag of open_clip or a local file')
    parser.add_argument('--identities', type=int, default=256,
                        help='synthetic people to pretrain on')
    parser.add_argument('--held-out', type=int, default=160,
                        help='synthetic people to evaluate on')
    parser.add_argument('--epochs', type=int, nargs=2, metavar=('STAGE1', 'STAGE2'),
                        help='epochs of both stages; by default those of the configs')
    args = parser.parse_args()
    for name in ('seeds', 'identities', 'held_out'):
        if (value := getattr(args, name)) < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1, got {value}')
    if args.epochs and min(args.epochs) < 2:
        parser.error(f'--epochs: a stage takes at least 2, the first warms up; got {args.epochs}')
    if args.images is not None and not args.images.is_dir():
        parser.error(f'--images {args.images} is no folder')
    if args.images is not None and printable(args.images) != str(args.images):
        parser.error(f'--images {printable(args.images)}: the name is no UTF-8, as configs need: '
                     'rename the folder')
    return args


def main() -> None:
    args = parse_args()
    quiet_mmcv_lite()
    from clasp_mm.experiments.quickstart import Options, run_quickstart  # slow, and not for --help
    allow_mmengine_checkpoints()
    options = vars(args)
    options['epochs'] = args.epochs and tuple(args.epochs)
    try:
        run_quickstart(Options(**options))
    except (FileNotFoundError, ImportError, RuntimeError, ValueError) as error:
        sys.exit(f'quickstart.py: {error}')


if __name__ == '__main__':
    main()

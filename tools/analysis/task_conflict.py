#!/usr/bin/env python
"""Conflict of the pretext tasks in trained systems: GCR, EAD and HM (CLASP, Table XI)."""

import argparse
import sys
from pathlib import Path

from clasp_mm.compat import quiet_mmcv_lite
from clasp_mm.utils.device import add_device_argument, announce_device

EPILOG = """\
GCR: share of shared layers, task pairs and batches whose gradients point apart. EAD: how little
the experts of the tasks overlap. HM: harmonic mean of re-identification mAP and parsing mIoU.
What a system does not define (GCR of one loss, EAD without experts) stays empty.

examples:
  python tools/analysis/task_conflict.py CLASP.py CLASP/epoch_30.pth
  python tools/analysis/task_conflict.py DINO.py DINO.pth CLASP.py CLASP.pth \\
      --names DINO CLASP --scores 59.1,38.2 63.0,41.5
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('systems', nargs='+', metavar='CONFIG CHECKPOINT',
                        help='pretraining config and training checkpoint of each system')
    parser.add_argument('--names', nargs='+', help='(default: the configs\')')
    parser.add_argument('--scores', nargs='+', metavar='mAP,mIoU', help='of each system, for HM')
    parser.add_argument('--batches', type=int, default=8, help='of each system (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the batches (%(default)s)')
    add_device_argument(parser)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/task_conflict'), metavar='STEM',
                        help='STEM.png, STEM.json and STEM.md (%(default)s)')
    args = parser.parse_args()
    if len(args.systems) % 2:
        parser.error(f'{args.systems[-1]} has no checkpoint: give CONFIG CHECKPOINT pairs')
    count = len(args.systems) // 2
    args.names = args.names or [Path(config).stem for config in args.systems[::2]]
    args.scores = args.scores or [None] * count
    for option in ('names', 'scores'):
        if len(getattr(args, option)) != count:
            parser.error(f'--{option}: {len(getattr(args, option))} for {count} systems')
    try:
        args.scores = [text and tuple(map(float, text.split(','))) for text in args.scores]
    except ValueError as error:
        parser.error(f'--scores: {error}')
    if any(pair and len(pair) != 2 for pair in args.scores):
        parser.error('--scores takes mAP,mIoU of each system')
    return args


def main() -> None:
    args = parse_args()
    quiet_mmcv_lite()
    from clasp_mm.analysis.run import write_conflict  # slow, and not for --help
    from clasp_mm.analysis.task_conflict import System
    systems = map(System, args.names, args.systems[::2], args.systems[1::2], args.scores)
    try:
        device = announce_device(args.device)
        print(write_conflict(list(systems), args.out, args.batches, args.seed, device))
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'task_conflict.py: {error}')


if __name__ == '__main__':
    main()

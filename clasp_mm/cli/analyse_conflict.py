"""Conflict of the pretext tasks in trained systems: GCR, EAD and HM (CLASP, Table XI)."""

import argparse
from pathlib import Path

from .options import add_device, add_out, usage

EPILOG = """\
GCR: share of shared layers, task pairs and batches whose gradients point apart. EAD: how little
the experts of the tasks overlap. HM: harmonic mean of re-identification mAP and parsing mIoU.
What a system does not define (GCR of one loss, EAD without experts) stays empty.

examples:
  clasp analyse conflict CLASP.py CLASP/epoch_30.pth
  clasp analyse conflict DINO.py DINO.pth CLASP.py CLASP.pth --names DINO CLASP \\
      --scores 59.1,38.2 63.0,41.5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('systems', nargs='+', metavar='CONFIG CHECKPOINT',
                        help='pretraining config and training checkpoint of each system')
    parser.add_argument('--names', nargs='+', help='(default: the configs\')')
    parser.add_argument('--scores', nargs='+', metavar='mAP,mIoU', help='of each system, for HM')
    parser.add_argument('--batches', type=int, default=8, help='of each system (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the batches (%(default)s)')
    add_device(parser)
    add_out(parser)


def run(args: argparse.Namespace) -> None:
    if len(args.systems) % 2:
        usage(f'{args.systems[-1]} has no checkpoint: give CONFIG CHECKPOINT pairs')
    count = len(args.systems) // 2
    names = args.names or [Path(config).stem for config in args.systems[::2]]
    scores = args.scores or [None] * count
    for option, given in (('names', names), ('scores', scores)):
        if len(given) != count:
            usage(f'--{option}: {len(given)} for {count} systems')
    try:
        scores = [text and tuple(map(float, text.split(','))) for text in scores]
    except ValueError as error:
        usage(f'--scores: {error}')
    if any(pair and len(pair) != 2 for pair in scores):
        usage('--scores takes mAP,mIoU of each system')
    from clasp_mm.analysis.run import write_conflict
    from clasp_mm.analysis.task_conflict import System
    systems = list(map(System, names, args.systems[::2], args.systems[1::2], scores))
    print(write_conflict(systems, args.out / 'task_conflict', args.batches, args.seed,
                         args.device))

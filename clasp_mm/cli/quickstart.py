"""The main job: synthetic people -> mini CLIP -> DINO -> pseudo-labels -> CLASP -> report.

Pretrain a nano CLASP end to end and report what it learned, on synthetic people (about 8 minutes
on two cores) or on your own crops. What is done is not done again: call it once more to go on after
an interruption.
"""

import argparse
from pathlib import Path

from .options import add_epochs, check_counts, usage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--out', type=Path, metavar='DIR', default=Path('work_dirs/quickstart'),
                        help='everything is written below it (%(default)s)')
    parser.add_argument('--seeds', type=int, default=1,
                        help='pretrain with that many and report mean and spread (%(default)s)')
    parser.add_argument('--images', type=Path, metavar='DIR',
                        help='your own person crops in place of synthetic people; the rows that '
                        'need ground truth are left out')
    parser.add_argument('--clip', metavar='NAME',
                        help='open_clip model that makes the pseudo-labels; by default a mini '
                        'CLIP is trained on synthetic people, which knows no real photographs')
    parser.add_argument('--clip-pretrained', metavar='TAG|FILE',
                        help='weights of --clip: a tag of open_clip or a local file')
    parser.add_argument('--identities', type=int, default=256,
                        help='synthetic people to pretrain on (%(default)s)')
    parser.add_argument('--held-out', type=int, default=160,
                        help='synthetic people to evaluate on (%(default)s)')
    add_epochs(parser)


def run(args: argparse.Namespace) -> None:
    check_counts(args, 'seeds', 'identities', 'held_out')
    from clasp_mm.utils.files import printable
    if args.images is not None and not args.images.is_dir():
        usage(f'--images {args.images} is no folder')
    if args.images is not None and printable(args.images) != str(args.images):
        usage(f'--images {printable(args.images)}: the name is no UTF-8, as configs need: rename '
              'the folder')
    from clasp_mm.experiments.quickstart import Options, run_quickstart
    run_quickstart(Options(
        args.out, seeds=args.seeds, images=args.images, clip=args.clip,
        clip_pretrained=args.clip_pretrained, identities=args.identities, held_out=args.held_out,
        epochs=args.epochs and tuple(args.epochs)))

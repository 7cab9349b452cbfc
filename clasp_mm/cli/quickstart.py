"""The main job: synthetic people -> mini CLIP -> DINO -> pseudo-labels -> CLASP -> report.

Pretrain a nano CLASP end to end and report what it learned, on synthetic people (about 8 minutes
on two cores) or on your own crops. What is done is not done again: call it once more to go on after
an interruption.

--budget long is the proof: five systems (random weights, DINO, SOLIDER, labels without PC-MoE,
CLASP) from one DINO a seed, on 2,000 drawn people, 4,000 and 2,000 steps, scored on all six tasks
and each claim of the paper judged over the seeds. Two hours on two cores; the same as clasp
ablation --table systems --budget long, which can run one training at a time.
"""

import argparse
from pathlib import Path

from .options import add_epochs, check_counts, usage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--budget', choices=('quickstart', 'long'), default='quickstart',
                        help='minutes, or hours: five systems and the claims (%(default)s)')
    parser.add_argument('--out', type=Path, metavar='DIR',
                        help='everything is written below it (work_dirs/quickstart, or '
                        'work_dirs/ablation/long)')
    parser.add_argument('--seeds', type=int,
                        help='pretrain with that many and report mean and spread (1, or 3 with '
                        '--budget long)')
    parser.add_argument('--images', type=Path, metavar='DIR',
                        help='your own person crops in place of synthetic people; the rows that '
                        'need ground truth are left out')
    parser.add_argument('--clip', metavar='NAME',
                        help='open_clip model that makes the pseudo-labels; by default a mini '
                        'CLIP is trained on synthetic people, which knows no real photographs')
    parser.add_argument('--clip-pretrained', metavar='TAG|FILE',
                        help='weights of --clip: a tag of open_clip or a local file')
    parser.add_argument('--identities', type=int,
                        help='synthetic people to pretrain on (256, or 2000 with --budget long)')
    parser.add_argument('--held-out', type=int,
                        help='synthetic people to evaluate on (160, or 480 with --budget long)')
    add_epochs(parser)


def run(args: argparse.Namespace) -> None:
    check_counts(args, 'seeds', 'identities', 'held_out')
    if args.budget == 'long':
        return run_long(args)
    from clasp_mm.utils.files import printable
    if args.images is not None and not args.images.is_dir():
        usage(f'--images {args.images} is no folder')
    if args.images is not None and printable(args.images) != str(args.images):
        usage(f'--images {printable(args.images)}: the name is no UTF-8, as configs need: rename '
              'the folder')
    from clasp_mm.experiments.quickstart import Options, run_quickstart
    run_quickstart(Options(
        args.out or Path('work_dirs/quickstart'), seeds=args.seeds or 1, images=args.images,
        clip=args.clip, clip_pretrained=args.clip_pretrained, identities=args.identities or 256,
        held_out=args.held_out or 160, epochs=args.epochs and tuple(args.epochs)))


def run_long(args: argparse.Namespace) -> None:
    """The same as ``clasp ablation --table systems --budget long``."""
    for name in ('images', 'clip', 'clip_pretrained'):
        if getattr(args, name) is not None:
            usage(f'--{name.replace("_", "-")} {getattr(args, name)}: --budget long compares '
                  'systems on drawn people and the mini CLIP; leave one of both out')
    from . import ablation
    args.table, args.parallel, args.processes = ['systems'], 2, 1
    args.size = args.arch = None
    args.seeds = args.seeds or 3
    ablation.run(args)

#!/usr/bin/env python
"""Label person images with a frozen teacher and CLIP, once, for pretraining CLASP.

An interrupted run goes on where it stopped when the same command is given again. On several GPUs
start it with torchrun; the store does not depend on their number.
"""

import argparse
import os

from clasp_mm.cli.labeler_options import add_labeler_arguments, labeler_from_arguments
from clasp_mm.datasets import LUPerson
from clasp_mm.labelling.make_store import make_store
from clasp_mm.utils.claims import HeldError

EPILOG = """\
examples:
  python tools/make_pseudo_labels.py --data-root data/luperson --teacher dino_swin-tiny.pth \\
      --out data/luperson/pseudo_labels
  torchrun --nproc-per-node 8 tools/make_pseudo_labels.py ... the same options ...
Then: dict(type='clasp_mm.CLIPPseudoLabeler', store='data/luperson/pseudo_labels') in the pipeline.
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_labeler_arguments(parser)
    parser.add_argument('--workers', type=int, default=4, help='processes that read (%(default)s)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    rank, world_size = int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))
    try:
        store = make_store(
            LUPerson(args.data_root, args.list), labeler_from_arguments(args), args.out,
            args.batch_size, args.workers, rank, world_size, show_progress=rank == 0)
    except (HeldError, ValueError, OSError, ImportError) as error:
        raise SystemExit(f'make_pseudo_labels.py: {error}') from error
    if store is None:
        print(f'process {rank} is done; others are still at work on {args.out}.partial')


if __name__ == '__main__':
    main()

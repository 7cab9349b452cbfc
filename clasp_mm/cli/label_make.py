"""Label person images with a frozen teacher and CLIP, once, for pretraining CLASP.

An interrupted run goes on where it stopped when the same command is given again. On several GPUs
start tools/make_pseudo_labels.py with torchrun; the store does not depend on their number.
"""

import argparse

from .labeler_options import add_labeler_arguments, labeler_from_arguments

EPILOG = """\
examples:
  clasp label make --data-root data/luperson --teacher dino_swin-tiny.pth \\
      --out data/luperson/pseudo_labels
  torchrun --nproc-per-node 8 tools/make_pseudo_labels.py ... the same options ...
Then: dict(type='clasp_mm.CLIPPseudoLabeler', store='data/luperson/pseudo_labels') in the pipeline.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_labeler_arguments(parser)
    parser.add_argument('--workers', type=int, default=4, help='processes that read (%(default)s)')


def run(args: argparse.Namespace) -> None:
    from clasp_mm.datasets import LUPerson
    from clasp_mm.labelling.make_store import make_store
    from clasp_mm.utils.shards import own_process
    rank, world_size = own_process()
    store = make_store(
        LUPerson(args.data_root, args.list), labeler_from_arguments(args), args.out,
        args.batch_size, args.workers, rank, world_size, show_progress=rank == 0)
    if store is None:
        print(f'process {rank} is done; others are still at work on {args.out}.partial')

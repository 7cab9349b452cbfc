"""Mean gate of every expert under each task and stage, and how little the tasks share (EAD)."""

import argparse

from . import options

EPILOG = """\
FOLDER holds images, or synthetic people (clasp data draw). Writes expert_use.png, .json and .md.
EAD: 0 where two tasks use the same experts alike, 1 where they share none.

example:
  clasp analyse experts work_dirs/quickstart/seed0/published/clasp_nano.pth \\
      work_dirs/quickstart/data/held_out --size 64 32 --out work_dirs/analysis
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_backbone(parser)
    parser.add_argument('folder', help='images')
    options.add_size_of_model(parser)
    parser.add_argument('--images', type=int, default=640, help='at most (%(default)s)')
    options.add_device(parser)
    options.add_out(parser)


def run(args: argparse.Namespace) -> None:
    from clasp_mm.analysis.run import write_expert_use
    options.check_counts(args, 'images')
    backbone, size = options.read_backbone(args)
    print(write_expert_use(backbone, args.folder, args.out, size, args.images))

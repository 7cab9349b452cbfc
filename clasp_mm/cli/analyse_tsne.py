"""t-SNE of whole and part features under each prompt (CLASP, Fig. 6)."""

import argparse

from . import options

EPILOG = """\
PEOPLE is a folder of synthetic people with ground truth (clasp data draw). Writes t-SNE_whole.png,
t-SNE_part.png, and t-SNE.json and .md, which tell what share of the five nearest neighbours in each
picture has the same label.

example:
  clasp analyse tsne work_dirs/quickstart/seed0/published/clasp_nano.pth \\
      work_dirs/quickstart/data/held_out --size 64 32 --out work_dirs/analysis
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_backbone(parser)
    parser.add_argument('people', help='folder of synthetic people')
    options.add_size_of_model(parser)
    parser.add_argument('--number', type=int, default=12, help='identities (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of t-SNE (%(default)s)')
    options.add_device(parser)
    options.add_out(parser)


def run(args: argparse.Namespace) -> None:
    from clasp_mm.analysis.run import write_tsne
    backbone, size = options.read_backbone(args)
    print(write_tsne(backbone, args.people, args.out, size, args.number, args.seed))

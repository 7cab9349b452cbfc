"""t-SNE of whole and part features under each prompt (CLASP, Fig. 6)."""

import argparse

from .options import (
    add_backbone,
    add_device,
    add_out,
    add_size_of_model,
    read_backbone,
    size_of_model,
)

EPILOG = """\
PEOPLE is a folder of synthetic people with ground truth (clasp data draw). Writes t-SNE_whole.png,
t-SNE_part.png, and t-SNE.json and .md, which tell what share of the five nearest neighbours in each
picture has the same label.

example:
  clasp analyse tsne work_dirs/quickstart/seed0/published/clasp_nano.pth \\
      work_dirs/quickstart/data/held_out --size 64 32 --out work_dirs/analysis
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_backbone(parser)
    parser.add_argument('people', help='folder of synthetic people')
    add_size_of_model(parser)
    parser.add_argument('--number', type=int, default=12, help='identities (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of t-SNE (%(default)s)')
    add_device(parser)
    add_out(parser)


def run(args: argparse.Namespace) -> None:
    from clasp_mm.analysis.run import write_tsne
    backbone = read_backbone(args)
    print(write_tsne(backbone, args.people, args.out, size_of_model(args), args.number, args.seed))

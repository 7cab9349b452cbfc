"""Write a page of ranked lists: median, best and worst queries of a test set, labelled so."""

import argparse

from .options import add_device, add_out, check_counts

EPILOG = """\
example:
  clasp analyse ranked REID.py REID.pth --out work_dirs/ranked_lists
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config of the model, or its name in the zoo')
    parser.add_argument('checkpoint', help='checkpoint of its training, or its name in the zoo')
    add_out(parser)
    parser.add_argument('--queries', type=int, default=4, help='of each kind (%(default)s)')
    parser.add_argument('--top', type=int, default=10, help='length of the lists (%(default)s)')
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    from clasp_mm.analysis.ranked_lists import write_ranked_page
    check_counts(args, 'queries', 'top')
    page = args.out / 'ranked.html'
    score = write_ranked_page(args.config, args.checkpoint, page, args.queries, args.top,
                              args.device)
    print(f'{page}: mAP {score:.2f}')

"""Arrange a download as the configs of its task expect it, by links.

Only LIP needs it; the other data sets are used as they are unpacked (clasp data check).
"""

import argparse
from pathlib import Path

from .data_check import LAYOUTS
from .options import add_out

EPILOG = LAYOUTS['parsing']


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('task', choices=('parsing',), help='whose configs read the data')
    add_places(parser)


def add_places(parser: argparse.ArgumentParser, needed: bool = True) -> None:
    """Add where the archives are, and where the links go."""
    parser.add_argument('source', nargs=None if needed else '?', type=Path,
                        help='folder with the unpacked archives')
    add_out(parser, 'data/lip')


def run(args: argparse.Namespace) -> None:
    from clasp_mm.datasets.checks.lip import arrange_lip
    made = arrange_lip(args.source, args.out)
    print('\n'.join(map(str, made)) or f'{args.out}: all there already')

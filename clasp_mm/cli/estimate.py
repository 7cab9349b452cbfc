"""Run a few steps of a config and tell time, memory, disk and batch size of its training.

Nothing but WORK_DIR/estimate.json is written. The same as clasp train --estimate.
"""

import argparse

from . import train


def add_arguments(parser: argparse.ArgumentParser) -> None:
    train.add_common_arguments(parser)
    parser.add_argument('--steps', dest='estimate', type=int, default=10,
                        help='to run (%(default)s)')


run = train.run

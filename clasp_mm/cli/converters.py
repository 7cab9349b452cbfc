"""The files of tools/dataset_converters: ``clasp data check``, with OpenMMLab's manners."""

import argparse
from pathlib import Path

from . import data_arrange
from .data_check import LAYOUTS, PERSON_SEARCH, check
from .options import usage


class Converter:
    """What :func:`clasp_mm.cli.tool` runs for the data of a task."""

    def __init__(self, task: str) -> None:
        self.task = task
        self.__doc__ = f'Say whether the data of {task} lie as configs/{task} expects them.'
        self.EPILOG = LAYOUTS[task]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add ``--check DIR``, and what a task has beside."""
        if self.task == 'person_search':
            parser.add_argument('data', choices=PERSON_SEARCH, help='which of the two')
        if self.task == 'parsing':
            data_arrange.add_places(parser, needed=False)
            parser.add_argument('--workers', type=int, help='processes of the check (one per core)')
        parser.add_argument('--check', type=Path, required=self.task != 'parsing', metavar='DIR',
                            help='the data root')

    def run(self, args: argparse.Namespace) -> int | None:
        """Check, or arrange."""
        if self.task != 'parsing':
            return check(self.task, args.check, getattr(args, 'data', PERSON_SEARCH[0]))
        if (args.source is None) == (args.check is None):
            usage('give either a folder to arrange or --check DIR')
        if args.check is None:
            return data_arrange.run(args)
        return check(self.task, args.check, workers=args.workers)

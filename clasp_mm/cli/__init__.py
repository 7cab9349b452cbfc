"""The ``clasp`` command: a table of subcommands, each a module imported only when called.

A subcommand's module has ``add_arguments(parser)`` and ``run(args) -> int`` (the exit code).
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from clasp_mm.version import __version__

# name -> (module with add_arguments and run, one line of help)
COMMANDS = {
    'doctor': ('clasp_mm.cli.doctor', 'check the installed packages and name the pip line for a '
               'gap'),
    'install': ('clasp_mm.cli.install', 'install what all six tasks need; nothing is compiled'),
    'embed': ('clasp_mm.search.embed', 'write the features of a folder of images, and a page of '
              'nearest neighbours'),
    'search': ('clasp_mm.cli.search', 'find images of a folder by words, attributes or a '
               'picture'),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the subcommand named in ``argv`` (default: the command line); return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog='clasp', description='CLIP-guided self-supervised pretraining for people in images.')
    parser.add_argument('--version', action='version', version=f'clasp_mm {__version__}')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    called = next((arg for arg in argv if not arg.startswith('-')), None)
    for name, (module, help_line) in COMMANDS.items():
        subparser = commands.add_parser(name, help=help_line, description=f'{help_line}.')
        if name == called:
            command = import_module(module)
            command.add_arguments(subparser)
            subparser.set_defaults(run=command.run)
    args = parser.parse_args(argv)
    return args.run(args)

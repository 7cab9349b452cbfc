"""Set published results side by side; refuse where they were not measured alike."""

import argparse

EPILOG = """\
Compared are training data and scored split (by hash), input size, flip test, re-ranking, how the
checkpoint was selected, and the task; what differs is named with all values.

example:
  clasp compare zoo/reid_a_20260101-01234567.json zoo/reid_b_20260101-89abcdef.json
  CLASP_ZOO=zoo clasp compare reid_a reid_b
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('models', nargs='+', help='published file or its side-car (.json), a '
                        'metafile.yml (all its models), or the name of a model in CLASP_ZOO')
    parser.add_argument('--force', action='store_true',
                        help='compare them all the same; the table then has what differs')


def run(args: argparse.Namespace) -> None:
    from clasp_mm.zoo.compare import compare
    print(compare(args.models, args.force))

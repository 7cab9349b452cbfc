#!/usr/bin/env python
"""Set published results side by side; refuse where they were not measured alike."""

import argparse
import sys

EPILOG = """\
Compared are training data and scored split (by hash), input size, flip test, re-ranking, how the
checkpoint was selected, and the task; what differs is named with all values.

example:
  python tools/compare.py zoo/reid_a_20260101-01234567.json zoo/reid_b_20260101-89abcdef.json
  CLASP_ZOO=zoo python tools/compare.py reid_a reid_b
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('models', nargs='+', help='published file or its side-car (.json), a '
                        'metafile.yml (all its models), or the name of a model in CLASP_ZOO')
    parser.add_argument('--force', action='store_true',
                        help='compare them all the same; the table then has what differs')
    args = parser.parse_args()
    from clasp_mm.zoo.compare import compare  # slow, and not for --help
    try:
        print(compare(args.models, args.force))
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'compare.py: {error}')


if __name__ == '__main__':
    main()

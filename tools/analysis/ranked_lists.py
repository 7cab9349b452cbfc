#!/usr/bin/env python
"""Write a page of ranked lists: median, best and worst queries of a test set, labelled so."""

import argparse
import sys

from clasp_mm.compat import quiet_mmcv_lite
from clasp_mm.utils.device import add_device_argument, announce_device

EPILOG = """\
example:
  python tools/analysis/ranked_lists.py REID.py REID.pth --out work_dirs/ranked.html
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of the model')
    parser.add_argument('checkpoint', help='checkpoint of its training')
    parser.add_argument('--out', default='work_dirs/ranked.html', metavar='HTML',
                        help='(%(default)s)')
    parser.add_argument('--queries', type=int, default=4, help='of each kind (%(default)s)')
    parser.add_argument('--top', type=int, default=10, help='length of the lists (%(default)s)')
    add_device_argument(parser)
    args = parser.parse_args()
    quiet_mmcv_lite()
    from clasp_mm.analysis.ranked_lists import write_ranked_page  # slow, and not for --help
    try:
        device = announce_device(args.device)
        score = write_ranked_page(args.config, args.checkpoint, args.out, args.queries, args.top,
                                  device)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'ranked_lists.py: {error}')
    print(f'{args.out}: mAP {score:.2f}')


if __name__ == '__main__':
    main()

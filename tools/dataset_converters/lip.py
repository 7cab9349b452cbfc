#!/usr/bin/env python
"""Arrange the official LIP download for configs/parsing, and say what is missing or wrong in it."""

import argparse
import sys
from pathlib import Path

from clasp_mm.datasets.checks.lip import arrange_lip, check_lip

EPILOG = """\
Fetch TrainVal_images and TrainVal_parsing_annotations (single-person LIP) from
http://sysu-hcp.net/lip/, unpack both in one folder, and link them:
  python tools/dataset_converters/lip.py downloads --out data/lip
  python tools/dataset_converters/lip.py --check data/lip
The data root then holds train_images/, val_images/, train_id.txt, val_id.txt and
TrainVal_parsing_annotations/{train,val}_segmentations/ (index PNGs, 0 to 19, 255 ignored).
LIP is for non-commercial research and education; its images keep their owners' rights.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', nargs='?', type=Path, help='folder with the unpacked archives')
    parser.add_argument('--out', type=Path, default=Path('data/lip'), metavar='DIR',
                        help='data root to make, of links (%(default)s)')
    parser.add_argument('--check', type=Path, metavar='DIR', help='data root to check')
    parser.add_argument('--workers', type=int, help='processes of the check (one per core)')
    args = parser.parse_args()
    if (args.source is None) == (args.check is None):
        parser.error('give either a folder to arrange or --check DIR')
    if args.check is None:
        try:
            made = arrange_lip(args.source, args.out)
        except (OSError, ValueError) as error:
            sys.exit(f'lip.py: {error}')
        print('\n'.join(map(str, made)) or f'{args.out}: all there already')
        return
    if not args.check.is_dir():
        sys.exit(f'lip.py: no folder {args.check}')
    findings = check_lip(args.check, args.workers)
    print(findings)
    sys.exit(bool(findings.problems))


if __name__ == '__main__':
    main()

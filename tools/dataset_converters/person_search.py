#!/usr/bin/env python
"""Say whether CUHK-SYSU or PRW lies as configs/person_search expects it."""

import argparse
import sys
from pathlib import Path

from clasp_mm.datasets.checks.person_search import check_person_search

EPILOG = """\
Nothing is converted: the official downloads are used as they are. DIR should hold
  cuhk_sysu  Image/SSM/*.jpg, annotation/{Images,pool}.mat,
             annotation/test/train_test/{Train,TestG50,TestG100,...,TestG4000}.mat
  prw        frames/*.jpg, annotations/*.jpg.mat, frame_{train,test}.mat, query_info.txt
Both are given out by their authors for research on request; they show real people who did not ask
to be in them, and must not be passed on. configs/person_search/README.md says more.

example:
  python tools/dataset_converters/person_search.py cuhk_sysu --check data/cuhk_sysu
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', choices=('cuhk_sysu', 'prw'))
    parser.add_argument('--check', type=Path, required=True, metavar='DIR', help='the data root')
    args = parser.parse_args()
    if not args.check.is_dir():
        sys.exit(f'person_search.py: no folder {args.check}')
    findings = check_person_search(args.check, args.data)
    print(findings)
    sys.exit(bool(findings.problems))


if __name__ == '__main__':
    main()

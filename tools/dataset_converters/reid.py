#!/usr/bin/env python
"""Say whether Market-1501 or MSMT17 lies as configs/reid expects it."""

import argparse
import sys
from pathlib import Path

from clasp_mm.datasets.checks.reid import check_reid

EPILOG = """\
Nothing is converted: the official download is used as it is unpacked. DIR should hold
  bounding_box_train/, query/, bounding_box_test/                      Market-1501-v15.09.15.zip
or
  train/, test/ (or mask_train_v2/, mask_test_v2/), list_{train,val,query,gallery}.txt   MSMT17
Market-1501 is for research only; MSMT17 is given to those who sign its release agreement.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', type=Path, required=True, metavar='DIR', help='the data root')
    root = parser.parse_args().check
    if not root.is_dir():
        sys.exit(f'reid.py: no folder {root}')
    findings = check_reid(root)
    print(findings)
    sys.exit(bool(findings.problems))


if __name__ == '__main__':
    main()

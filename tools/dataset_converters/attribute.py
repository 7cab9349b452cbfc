#!/usr/bin/env python
"""Say whether PA-100K, PETA or RAP lie as configs/attribute expect them."""

import argparse
import sys
from pathlib import Path

from clasp_mm.datasets.checks.attribute import check_attributes

EPILOG = """\
Nothing is converted: the files are used as they are. DIR should hold
  annotation.mat, data/                 PA-100K (data/pa100k): data/ is release_data/release_data/
                                        of the download, renamed
  dataset_zs_run0.pkl, images/          PETA (data/peta), the split of RethinkPAR's repository
  dataset_zs_run0.pkl, RAP_dataset/     RAP (data/rap2), the same
Nothing that a pickle asks for is run: only plain data and arrays are read out of it.
PA-100K is CC BY-NC 4.0; PETA and RAP are for research, RAP on written request.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', type=Path, required=True, metavar='DIR', help='the data root')
    root = parser.parse_args().check
    if not root.is_dir():
        sys.exit(f'attribute.py: no folder {root}')
    findings = check_attributes(root)
    print(findings)
    sys.exit(bool(findings.problems))


if __name__ == '__main__':
    main()

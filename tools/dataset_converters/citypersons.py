#!/usr/bin/env python
"""Say whether CityPersons lies as configs/detection expects it."""

import argparse
import sys
from pathlib import Path

from clasp_mm.datasets.checks.citypersons import check_citypersons

EPILOG = """\
Nothing is converted: the official download is used as it is. DIR (data/citypersons) should hold
  leftImg8bit/{train,val}/CITY/CITY_*_leftImg8bit.png            leftImg8bit_trainvaltest.zip
  gtBboxCityPersons/{train,val}/CITY/CITY_*_gtBboxCityPersons.json   gtBbox_cityPersons_trainval.zip
with 2975 and 500 images, each with its annotation. Both archives are at
https://www.cityscapes-dataset.com/downloads/, for registered users; unpack both in DIR.
Licence: that of Cityscapes, for research, teaching and other non-commercial use; the images must
not be passed on. A val_gt.json in COCO form works too: set ann_file to it.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', type=Path, required=True, metavar='DIR', help='the data root')
    root = parser.parse_args().check
    if not root.is_dir():
        sys.exit(f'citypersons.py: no folder {root}')
    findings = check_citypersons(root)
    print(findings)
    sys.exit(bool(findings.problems))


if __name__ == '__main__':
    main()

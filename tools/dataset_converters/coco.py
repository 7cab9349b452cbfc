#!/usr/bin/env python
"""Say whether COCO person keypoints lie as configs/pose expects them."""

import argparse
import sys
from pathlib import Path

from clasp_mm.datasets.checks.coco import check_coco

EPILOG = """\
Nothing is converted: the official download is used as it is. DIR (data/coco) should hold
  annotations/person_keypoints_train2017.json, ..._val2017.json   annotations_trainval2017.zip
  train2017/, val2017/                                            train2017.zip, val2017.zip
  person_detection_results/COCO_val2017_detections_AP_H_56_person.json
The first three are at https://cocodataset.org/#download; mmpose's page on preparing COCO
links the last. Annotations are CC BY 4.0; the images keep the terms of Flickr.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', type=Path, required=True, metavar='DIR', help='the data root')
    root = parser.parse_args().check
    if not root.is_dir():
        sys.exit(f'coco.py: no folder {root}')
    findings = check_coco(root)
    print(findings)
    sys.exit(bool(findings.problems))


if __name__ == '__main__':
    main()

#!/usr/bin/env python
"""Measure pseudo-labels against ground truth and show them, as the paper's Fig. 4 and 5 do.

Any image folder, list or LMDB will do; with true part maps (PNGs of LIP's 20 classes) and
attributes there are figures, without them pictures, confidences and what the filters keep.
Synthetic people bring their truth along.
"""

import argparse
import json
from pathlib import Path

from clasp_mm.apis.label_report import (
    read_labelled_images,
    read_synthetic_people,
    report_labels,
)
from clasp_mm.apis.labeler_options import add_labeler_arguments, labeler_from_arguments
from clasp_mm.datasets import LUPerson
from clasp_mm.datasets.synthetic.writers import MARKER as SYNTHETIC_MARKER

EPILOG = """\
example, on synthetic people:
  python tools/make_synthetic_data.py data/people --seed 7 --identities 100
  python tools/analysis/pseudo_label_report.py --data-root data/people \\
      --teacher dino_swin-nano.pth --clip mini_clip.json --clip-pretrained mini_clip.pth \\
      --out work_dirs/label_report
on any set:
  python tools/analysis/pseudo_label_report.py --data-root lip/images --parsing lip/parsing \\
      --attributes attributes.json --teacher dino_swin-tiny.pth --out work_dirs/label_report
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_labeler_arguments(parser)
    parser.add_argument('--parsing', help='folder of PNGs of LIP\'s 20 classes')
    parser.add_argument('--attributes', help='JSON: image name -> attribute -> value')
    parser.add_argument('--num-images', type=int, help='draw that many (default: all)')
    parser.add_argument('--num-examples', type=int, default=12, help='images on the page (12)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        labeler = labeler_from_arguments(args)
        if (Path(args.data_root) / SYNTHETIC_MARKER).is_file() and not args.parsing:
            images, total = read_synthetic_people(args.data_root, args.num_images)
        else:
            source = LUPerson(args.data_root, args.list, num_images=args.num_images)
            truth = (json.loads(Path(args.attributes).read_text('utf-8'))
                     if args.attributes else None)
            images, total = read_labelled_images(source, args.parsing, truth), len(source)
        result = report_labels(labeler, images, args.out, args.num_examples, args.batch_size,
                               total=total)
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(f'pseudo_label_report.py: {error}') from error
    print(json.dumps({name: result[name] for name in ('kept', 'foreground_iou', 'mean_iou')},
                     indent=1))
    print(f'{args.out}/report.html and report.json')


if __name__ == '__main__':
    main()

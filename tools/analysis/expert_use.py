#!/usr/bin/env python
"""Mean gate of every expert under each task and stage, and how little the tasks share (EAD)."""

import argparse
import sys
from pathlib import Path

from clasp_mm.utils.device import add_device_argument, announce_device

EPILOG = """\
FOLDER holds images, or synthetic people (tools/make_synthetic_data.py). Writes expert_use.png,
.json and .md. EAD: 0 where two tasks use the same experts alike, 1 where they share none.

example:
  python tools/analysis/expert_use.py work_dirs/quickstart/seed0/published/clasp_nano.pth \\
      work_dirs/quickstart/data/held_out --size 64 32 --out work_dirs/analysis
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', help='published backbone, name of the zoo, or a config')
    parser.add_argument('folder', help='images')
    parser.add_argument('--pretrained', metavar='FILE', help='(training) checkpoint of a config')
    parser.add_argument('--size', type=int, nargs=2, default=(256, 128), metavar=('H', 'W'),
                        help='of the input (%(default)s)')
    parser.add_argument('--images', type=int, default=640, help='at most (%(default)s)')
    add_device_argument(parser)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/analysis'),
                        help='folder (%(default)s)')
    args = parser.parse_args()
    from clasp_mm.analysis.run import write_expert_use  # slow, and not for --help
    from clasp_mm.zoo.get_model import get_model
    try:
        device = announce_device(args.device)
        backbone = get_model(args.model, args.pretrained).to(device)
        print(write_expert_use(backbone, args.folder, args.out, tuple(args.size), args.images))
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'expert_use.py: {error}')


if __name__ == '__main__':
    main()

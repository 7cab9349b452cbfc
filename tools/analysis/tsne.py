#!/usr/bin/env python
"""t-SNE of whole and part features under each prompt (CLASP, Fig. 6)."""

import argparse
import sys
from pathlib import Path

from clasp_mm.utils.device import add_device_argument, announce_device

EPILOG = """\
PEOPLE is a folder of synthetic people with ground truth (tools/make_synthetic_data.py). Writes
t-SNE_whole.png, t-SNE_part.png, and t-SNE.json and .md, which tell what share of the five nearest
neighbours in each picture has the same label.

example:
  python tools/analysis/tsne.py work_dirs/quickstart/seed0/published/clasp_nano.pth \\
      work_dirs/quickstart/data/held_out --size 64 32 --out work_dirs/analysis
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', help='published backbone, name of the zoo, or a config')
    parser.add_argument('people', help='folder of synthetic people')
    parser.add_argument('--pretrained', metavar='FILE', help='(training) checkpoint of a config')
    parser.add_argument('--size', type=int, nargs=2, default=(256, 128), metavar=('H', 'W'),
                        help='of the input (%(default)s)')
    parser.add_argument('--number', type=int, default=12, help='identities (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of t-SNE (%(default)s)')
    add_device_argument(parser)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/analysis'),
                        help='folder (%(default)s)')
    args = parser.parse_args()
    from clasp_mm.analysis.run import write_tsne  # slow, and not for --help
    from clasp_mm.zoo.get_model import get_model
    try:
        device = announce_device(args.device)
        backbone = get_model(args.model, args.pretrained).to(device)
        print(write_tsne(backbone, args.people, args.out, tuple(args.size), args.number,
                         args.seed))
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'tsne.py: {error}')


if __name__ == '__main__':
    main()

#!/usr/bin/env python
"""Several tasks in one pass: time and scores, exact and by the stage where the tasks branch."""

import argparse
import json
import sys
from pathlib import Path

from clasp_mm.compat import quiet_mmcv_lite
from clasp_mm.utils.device import add_device_argument, announce_device
from clasp_mm.utils.files import replacing

EPILOG = """\
Frozen features of synthetic people, as the quickstart scores them. At stage 0 the tasks share what
no prompt touches, so scores are those of separate passes; at a later one they share more, under the
mean of their prompts.

example, after bash tools/quickstart.sh:
  python tools/analysis/multi_task.py work_dirs/quickstart/seed0/published/clasp_nano.pth \\
      --train work_dirs/quickstart/data/train --held-out work_dirs/quickstart/data/held_out
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', help='published backbone with PC-MoE, or its name in the zoo')
    parser.add_argument('--train', required=True, metavar='DIR',
                        help='synthetic people that the probes learn on')
    parser.add_argument('--held-out', required=True, metavar='DIR', help='others, to score')
    parser.add_argument('--size', type=int, nargs=2, default=(64, 32), metavar=('H', 'W'),
                        help='of the input (64 32)')
    parser.add_argument('--repeats', type=int, default=7,
                        help='rounds whose median time counts (%(default)s)')
    add_device_argument(parser)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/multi_task.json'),
                        metavar='FILE', help='(%(default)s)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    quiet_mmcv_lite()
    from clasp_mm import get_model  # slow, and not for --help
    from clasp_mm.analysis.branching import branch_table, format_table
    from clasp_mm.synthetic import load_ground_truth
    try:
        device = announce_device(args.device)
        backbone = get_model(args.model, out_indices=(0, 1, 2, 3)).to(device)
        truths = [load_ground_truth(folder) for folder in (args.train, args.held_out)]
        rows = branch_table(backbone, *truths, tuple(args.size), args.repeats)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'multi_task.py: {error}')
    print(format_table(rows))
    with replacing(args.out) as partial:
        partial.write_text(json.dumps(rows, indent=1), 'utf-8')


if __name__ == '__main__':
    main()

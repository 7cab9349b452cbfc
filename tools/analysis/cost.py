#!/usr/bin/env python
"""Parameters, MACs, memory, step and epoch time and latency of configs (CLASP, Table XII)."""

import argparse
import sys
from pathlib import Path

from clasp_mm.utils.device import add_device_argument, announce_device

EPILOG = """\
examples:
  python tools/analysis/cost.py configs/quickstart/dino_*64x32.py configs/quickstart/clasp_*64x32.py
  python tools/analysis/cost.py configs/pretrain/*base*.py --images 4180000
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', help='pretraining configs')
    parser.add_argument('--size', type=int, nargs=2, default=(256, 128), metavar=('H', 'W'),
                        help='of the image counted and timed (%(default)s)')
    parser.add_argument('--images', type=int, help='of an epoch, for the estimate of its hours')
    add_device_argument(parser)
    parser.add_argument('--no-step', action='store_true', help='leave the training step out')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/cost'), metavar='STEM',
                        help='STEM.png, .json and .md (%(default)s)')
    args = parser.parse_args()
    from clasp_mm.analysis.cost import cost_table, measure_cost  # slow
    from clasp_mm.engine.launch import load_config
    from clasp_mm.visualization.analysis import draw_bars
    from clasp_mm.visualization.analysis_page import write_analysis
    try:
        device = announce_device(args.device)
        configs = {Path(path).stem: load_config(path) for path in args.configs}
        rows = measure_cost(configs, tuple(args.size), args.images, device,
                            steps=not args.no_step)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'cost.py: {error}')
    panels = {'parameters, M': ('parameters', 1e-6), 'MACs, G': ('macs', 1e-9),
              'latency, ms': ('latency', 1e3), 'step, s': ('step', 1),
              'peak memory, MB': ('peak_memory_mb', 1)}
    picture = draw_bars([row['name'].split('_1xb')[0].split('_8xb')[0] for row in rows], {
        title: [row[key] * scale for row in rows]
        for title, (key, scale) in panels.items() if key in rows[0]})
    print(write_analysis(args.out, cost_table(rows), rows, {args.out.name: picture}))


if __name__ == '__main__':
    main()

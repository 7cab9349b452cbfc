"""Parameters, MACs, memory, step and epoch time and latency of configs (CLASP, Table XII)."""

import argparse
from pathlib import Path

from .options import add_device, add_out, add_size

EPILOG = """\
examples:
  clasp analyse cost configs/quickstart/dino_*64x32.py configs/quickstart/clasp_*64x32.py
  clasp analyse cost configs/pretrain/*base*.py --images 4180000
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('configs', nargs='+', help='pretraining configs')
    add_size(parser)
    parser.add_argument('--images', type=int, help='of an epoch, for the estimate of its hours')
    add_device(parser)
    parser.add_argument('--no-step', action='store_true', help='leave the training step out')
    add_out(parser)


def run(args: argparse.Namespace) -> None:
    from clasp_mm.analysis.cost import cost_table, measure_cost
    from clasp_mm.engine.launch import load_config
    from clasp_mm.visualization.analysis import draw_bars
    from clasp_mm.visualization.analysis_page import write_analysis
    configs = {Path(path).stem: load_config(path) for path in args.configs}
    rows = measure_cost(configs, tuple(args.size), args.images, args.device,
                        steps=not args.no_step)
    panels = {'parameters, M': ('parameters', 1e-6), 'MACs, G': ('macs', 1e-9),
              'latency, ms': ('latency', 1e3), 'step, s': ('step', 1),
              'peak memory, MB': ('peak_memory_mb', 1)}
    picture = draw_bars([row['name'].split('_1xb')[0].split('_8xb')[0] for row in rows], {
        title: [row[key] * scale for row in rows]
        for title, (key, scale) in panels.items() if key in rows[0]})
    print(write_analysis(args.out / 'cost', cost_table(rows), rows, {'cost': picture}))

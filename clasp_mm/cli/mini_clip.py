"""Train the mini CLIP, a stand-in for CLIP weights, on synthetic people."""

import argparse

from .options import add_device

EPILOG = """\
It learns from people that are drawn for it alone, and is no use on real photographs. The folder
holds the weights (open_clip_pytorch_model.pth), the architecture in open_clip's format
(mini_clip.json, and open_clip_config.json for open_clip's local-dir: scheme), and what it can do on
people that it has not seen (mini_clip_report.json). Run again with the same settings, it does
nothing.

examples:
  clasp mini-clip work_dirs/mini_clip
  clasp label make ... --clip local-dir:work_dirs/mini_clip
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('out_dir', help='folder to write')
    parser.add_argument('--seed', type=int, default=0,
                        help='of people, weights and batches (%(default)s)')
    parser.add_argument('--people', type=int, default=4096,
                        help='how many to learn from (%(default)s)')
    parser.add_argument('--heldout', type=int, default=512,
                        help='how many to measure on (%(default)s)')
    parser.add_argument('--steps', type=int, default=500, help='optimizer steps (%(default)s)')
    parser.add_argument('--batch-size', type=int, default=64, help='people per step (%(default)s)')
    add_device(parser)
    parser.add_argument('--threads', type=int, help='of torch (default: its own choice)')
    parser.add_argument('--workers', type=int,
                        help='processes that draw people (default: as many as threads)')


def run(args: argparse.Namespace) -> None:
    import torch
    from rich.console import Console

    from clasp_mm.mini_clip.report import report_tables
    from clasp_mm.mini_clip.train import train_mini_clip
    if args.threads:
        torch.set_num_threads(args.threads)
    report = train_mini_clip(
        args.out_dir, seed=args.seed, num_people=args.people, num_heldout=args.heldout,
        steps=args.steps, batch_size=args.batch_size, workers=args.workers,
        device=args.device)
    Console().print(report_tables(report))

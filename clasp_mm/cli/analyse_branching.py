"""Several tasks in one pass: time and scores, exact and by the stage where the tasks branch."""

import argparse

from .options import add_device, add_out, add_size

EPILOG = """\
Frozen features of synthetic people, as the quickstart scores them. At stage 0 the tasks share what
no prompt touches, so scores are those of separate passes; at a later one they share more, under the
mean of their prompts.

example, after clasp quickstart:
  clasp analyse branching work_dirs/quickstart/seed0/published/clasp_nano.pth \\
      --train work_dirs/quickstart/data/train --held-out work_dirs/quickstart/data/held_out
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('model', help='published backbone with PC-MoE, or its name in the zoo')
    parser.add_argument('--train', required=True, metavar='DIR',
                        help='synthetic people that the probes learn on')
    parser.add_argument('--held-out', required=True, metavar='DIR', help='others, to score')
    add_size(parser, (64, 32))
    parser.add_argument('--repeats', type=int, default=7,
                        help='rounds whose median time counts (%(default)s)')
    add_device(parser)
    add_out(parser)


def run(args: argparse.Namespace) -> None:
    from clasp_mm.analysis.branching import branch_table, format_table
    from clasp_mm.synthetic import load_ground_truth
    from clasp_mm.utils.files import write_json
    from clasp_mm.zoo.get_model import get_model
    backbone = get_model(args.model, out_indices=(0, 1, 2, 3)).to(args.device)
    truths = [load_ground_truth(folder) for folder in (args.train, args.held_out)]
    rows = branch_table(backbone, *truths, tuple(args.size), args.repeats)
    print(format_table(rows))
    write_json(args.out / 'multi_task.json', rows)

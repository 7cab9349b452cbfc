"""Measure speed and memory against named peers: both by turns in one run, medians, ratios.

Needs a clone of the repository.
"""

import argparse

from .options import add_device, add_float32_precision, add_out, import_from_clone

EPILOG = """\
  backbone  Swin-B with PC-MoE, forward, against mmpretrain's Swin-B without
  step      CLASP step against DINO step, time and memory; DINO step against mmpretrain's Swin
  labels    clustering against scikit-learn; labelling end to end against the CLIP forwards alone
  data      multi-crop views from JPEG files against Pillow and torchvision
  all       the four above
  pose, parsing, detection
            fine-tuning step and inference against the host's own Swin in the same model
  attribute, reid
            the same against mmpretrain's Swin; evaluate_reid against sorting in numpy
  person_search
            the same against mmdet's Swin; evaluate_person_search at CUHK-SYSU's full size
  inference   each task by clasp_mm.inference against the bare model on prepared batches
  multi_task  three tasks in one pass, exact and branching late, against a pass for each
  conflict  CLASP step with its share of TaskConflictHook against the step alone
  launches  operators, host waits and collectives of a DINO and a CLASP step, counted on the CPU
  operators  clasp_mm's stand-ins for mmcv's operators against compiled mmcv
  export    an exported backbone by onnxruntime and torch.export against torch (CPU)
  downstream  pose, parsing and detection; they need the hosts

examples:
  clasp benchmark backbone step --profile --out work_dirs/speed
  clasp benchmark all --amp --compile
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('benchmarks', nargs='+', metavar='BENCHMARK', help='see below')
    parser.add_argument('--threads', type=int,
                        help='CPU threads (default: 1 for labels and data, else one per core)')
    add_device(parser)
    parser.add_argument('--amp', action='store_true', help='networks in bfloat16 autocast')
    add_float32_precision(parser)
    parser.add_argument('--compile', action='store_true',
                        help='compile the backbones, the peer\'s too')
    parser.add_argument('--repeats', type=int, default=7,
                        help='rounds whose median counts (%(default)s)')
    parser.add_argument('--batch-size', type=int,
                        help='images per call of a network (default: each benchmark\'s own)')
    parser.add_argument('--profile', action='store_true', help='also where the time goes')
    parser.add_argument('--quick', action='store_true',
                        help='tiny networks: shows that all runs, measures nothing')
    parser.add_argument('--json', action='store_true', help='print JSON in place of a table')
    add_out(parser, 'work_dirs/benchmark')


def run(args: argparse.Namespace) -> None:
    import_from_clone('benchmarks.command').run(args)

"""Check clasp_mm on this machine's GPU: is it right, how fast is it, where does the time go?"""

import argparse

from clasp_mm.cli.options import add_out, usage

from ..stages import Stage, run_stages

_STAGES = 'benchmarks.gpu_check'
STAGES = {
    'machine': Stage(f'{_STAGES}.machine:machine', 1),
    'correct': Stage(f'{_STAGES}.correct:correct', 2),
    'steps': Stage(f'{_STAGES}.steps:steps', 4),
    'labels': Stage(f'{_STAGES}.jobs:labels', 2),
    'train': Stage(f'{_STAGES}.jobs:train', 3),
    'infer': Stage(f'{_STAGES}.jobs:infer', 2),
    'compile': Stage(f'{_STAGES}.steps:compiled', 6),
}
EPILOG = """\
  machine  device, driver, versions; speed of one large matrix product
  correct  backbone, PC-MoE, losses, clustering, labels and re-identification scores on the GPU
           and on the CPU, in float32 to a stated tolerance
  steps    DINO and CLASP steps of Swin-T, and DINO on mmpretrain's Swin: time and memory by batch
           and precision; what a step asks of the GPU, and where its time goes
  labels   images per second of labelling, in memory and from files into a store
  train    tools/train.py, once in one go and once killed and resumed: equal weights
  infer    images per second of a folder, for each task whose host is installed
  compile  DINO and CLASP steps by torch.compile: the first ones, and the steady time

Every stage is a process with a share of the time. DIR gets results.jsonl, a line for each result,
and STAGE.log. The exit code is 1 if a check is not ok. One GPU is used: choose it by
CUDA_VISIBLE_DEVICES.

examples:
  python tools/gpu_check.py --out work_dirs/gpu_check
  python tools/gpu_check.py --out work_dirs/gpu_check --smoke --only correct labels
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``tools/gpu_check.py``."""
    add_out(parser, 'work_dirs/gpu_check')
    parser.add_argument('--budget', type=float, metavar='SECONDS', default=540,
                        help='time for all stages together (%(default)s)')
    parser.add_argument('--smoke', action='store_true',
                        help='tiny sizes: shows that all runs, measures nothing; without a GPU the '
                        'CPU is compared with itself')
    for name, what in (('--only', 'run'), ('--skip', 'leave out')):
        parser.add_argument(name, nargs='+', choices=STAGES, default=[], metavar='STAGE',
                            help=f'stages to {what}: {", ".join(STAGES)}')


def run(args: argparse.Namespace) -> int:
    """Run the stages; return 1 if a check is not ok."""
    if args.budget <= 0:
        usage(f'--budget must be more than 0 seconds, got {args.budget:g}')
    stages = {name: stage for name, stage in STAGES.items()
              if name in (args.only or STAGES) and name not in args.skip}
    if not stages:
        usage('--only and --skip leave no stage')
    if not args.smoke:
        import torch  # slow, and not for --help
        if not torch.cuda.is_available():
            usage('torch sees no GPU; --smoke runs without one')
    return int(run_stages(stages, args.out, args.budget, args.smoke) > 0)

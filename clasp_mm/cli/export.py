"""Write a backbone or a fine-tuned model as ONNX or torch.export file, compared with torch."""

import argparse

from .options import add_out, add_size

EPILOG = """\
The file is for one size of image and any batch, and says so in its metadata. The prompt is fixed
(--task, or the config's) or a second input "prompt", (B, 3) weights over the prompts that the
metadata names, so that one file serves every task. The metadata also says how images are resized
and normalised. clasp_mm.export.run.ExportedModel runs both formats and checks what it is given.

examples:
  clasp export published/clasp_nano_DATE-SHA.pth --size 64 32 --prompt-input
  clasp export REID.py --checkpoint REID.pth
  clasp export POSE.py --checkpoint POSE.pth --format torch
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('source', help='published file, name of a model in $CLASP_ZOO, or config: '
                        'of pose (heat maps), attributes and re-identification the whole model, '
                        'else the backbone')
    parser.add_argument('--checkpoint', help='weights for a config, which needs them')
    add_out(parser, 'work_dirs/exported')
    parser.add_argument('--format', choices=('onnx', 'torch'), default='onnx',
                        help="DIR/NAME.onnx or DIR/NAME.pt2; NAME is the source's (%(default)s)")
    add_size(parser, None, "; by default that of a task's config")
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument('--task', nargs='+', metavar='TASK',
                        help='prompt to fix: appearance, part or attribute, several for their '
                        'mean, or one a stage; by default the config\'s')
    prompt.add_argument('--semantic-weight', type=float, metavar='W',
                        help='to fix of a backbone of SOLIDER, 0 to 1; by default the config\'s')
    prompt.add_argument('--prompt-input', action='store_true',
                        help='the prompt is an input')
    parser.add_argument('--out-indices', type=int, nargs='+', metavar='STAGE',
                        help='maps a backbone puts out, counted from 0; by default its config\'s')


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    from clasp_mm.export.write import SUFFIXES, export_model
    task = args.task[0] if args.task and len(args.task) == 1 else args.task
    source = Path(args.source)
    name = source.stem if source.suffix in ('.py', '.pth', '.safetensors') else source.name
    file = args.out / f'{name}{SUFFIXES[args.format]}'
    report = export_model(args.source, file, args.checkpoint, args.size, task,
                          args.prompt_input, args.out_indices, args.format, args.semantic_weight)
    height, width = report.meta['input_size']
    left = report.meta.get('without_head_of')
    print(f'{report.path}: {", ".join(report.meta["outputs"])} of (B, 3, {height}, {width}); '
          f'within {report.difference:.1g} of torch'
          + (f'; the backbone alone, as heads of {left} are not exported' if left else ''))

"""Which prompt to give a backbone for a task of yours, from a few hundred labelled images.

Every prompt and every mean of two or three is probed on frozen features. The table has 95 %
intervals, tells which are tied with the best, and ends with the line for your config.
"""

import argparse

from .options import add_device, add_out, add_size_of_model, check_counts, size_of_model

EPILOG = """\
labels, by --kind:
  identity    --table with the columns image, identity and, if known, camera; or images named as
              Market-1501's; or a sub-folder for every person. Retrieval mAP.
  attributes  --table with image and a column of 1, 0 or nothing for every attribute. mA of a probe.
  classes     --table with image and class, or a sub-folder for every class. Accuracy of a probe.
  maps        --maps with a PNG of class numbers (255: ignore) for every image. mIoU of a probe.
A column identity beside attributes or class keeps images of one person together.

examples:
  clasp analyse prompt clasp.pth crops/ --kind identity
  clasp analyse prompt clasp.pth crops/ --kind attributes --table labels.csv
  clasp analyse prompt clasp.pth images/ --kind maps --maps segmentations/
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('model', help='backbone with PC-MoE: published file, name in the zoo, or '
                        'config with --checkpoint')
    parser.add_argument('images', help='folder of the images')
    parser.add_argument('--kind', required=True,
                        choices=('identity', 'attributes', 'classes', 'maps'),
                        help='what the labels are, see below')
    parser.add_argument('--table', metavar='CSV', help='labels, image names relative to the folder')
    parser.add_argument('--maps', metavar='DIR', help='label maps')
    parser.add_argument('--checkpoint', metavar='FILE', help='weights, where model is a config')
    add_size_of_model(parser)
    parser.add_argument('--batch-size', type=int, default=32, help='images (%(default)s)')
    parser.add_argument('--resamples', type=int, default=1000, help='for intervals (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of their draw (%(default)s)')
    add_device(parser)
    add_out(parser)


def run(args: argparse.Namespace) -> None:
    import sys

    from clasp_mm.analysis.choose_prompt import choose_prompt, format_choice, read_labels
    from clasp_mm.utils.files import write_json
    from clasp_mm.zoo.get_model import get_model
    check_counts(args, 'batch_size', 'resamples')
    labels = read_labels(args.kind, args.images, args.table, args.maps)
    for gap in labels.gaps():
        print(gap, file=sys.stderr)
    stages = dict(out_indices=(0, 1, 2, 3)) if args.kind == 'maps' else {}
    backbone = get_model(args.model, pretrained=args.checkpoint, **stages).to(args.device)
    choice = choose_prompt(backbone, labels, size_of_model(args), args.resamples, args.seed,
                           args.batch_size)
    for fault in choice.unreadable:
        print(f'left out, {fault}', file=sys.stderr)
    if choice.unreadable:
        print(f'{len(choice.unreadable)} of {len(labels.paths)} images could not be read',
              file=sys.stderr)
    print(format_choice(choice))
    write_json(args.out / 'choose_prompt.json', choice.to_dict())

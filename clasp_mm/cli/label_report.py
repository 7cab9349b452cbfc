"""Judge pseudo-labels before training on them, and show them, as the paper's Fig. 4 and 5 do.

Any image folder, list or LMDB will do. Without the truth: what the filters reject and why, how
sure CLIP is, whether it says the same in other words and for other cluster numbers, and a verdict
on every attribute and part (usable, weak, unusable at this resolution). With true part maps (PNGs
of LIP's 20 classes) and attributes: also how often it is right. Synthetic people bring their truth
along.
"""

import argparse

from .labeler_options import add_labeler_arguments, labeler_from_arguments

EPILOG = """\
on your own folder, before anything is trained:
  clasp label report --data-root my/crops --teacher none --num-images 2000 \\
      --out work_dirs/label_report
on synthetic people:
  clasp data draw data/people --seed 7 --identities 100
  clasp label report --data-root data/people --teacher dino_swin-nano.pth \\
      --clip local-dir:work_dirs/mini_clip --out work_dirs/label_report
on a set with annotation:
  clasp label report --data-root lip/images --parsing lip/parsing --attributes attributes.json \\
      --teacher dino_swin-tiny.pth --out work_dirs/label_report
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_labeler_arguments(parser, 'work_dirs/label_report')
    parser.add_argument('--parsing', help='folder of PNGs of LIP\'s 20 classes')
    parser.add_argument('--attributes', help='JSON: image name -> attribute -> value')
    parser.add_argument('--num-images', type=int, help='draw that many (default: all)')
    parser.add_argument('--num-examples', type=int, default=6,
                        help='images on the page, the first ones (%(default)s)')
    parser.add_argument('--num-extremes', type=int, default=6,
                        help='and of the surest, the least sure and the rejected (%(default)s)')


def run(args: argparse.Namespace) -> None:
    import json
    from pathlib import Path

    from clasp_mm.datasets import LUPerson
    from clasp_mm.labelling.reliability import paraphrase
    from clasp_mm.labelling.report import read_labelled_images, read_synthetic_people, report_labels
    from clasp_mm.synthetic.writers import MARKER
    from clasp_mm.utils.files import read_json
    unreadable: list[str] = []
    labeler = labeler_from_arguments(args)
    if (Path(args.data_root) / MARKER).is_file() and not args.parsing:
        images, total = read_synthetic_people(args.data_root, args.num_images)
    else:
        source = LUPerson(args.data_root, args.list, num_images=args.num_images)
        truth = read_json(args.attributes) if args.attributes else None
        images = read_labelled_images(source, args.parsing, truth, unreadable,
                                      labeler.vocabulary)
        total = len(source)
    result = report_labels(labeler, images, args.out, args.num_examples, args.batch_size,
                           total=total, data=args.data_root,
                           paraphrases=paraphrase(labeler.vocabulary),
                           num_extremes=args.num_extremes, unreadable=unreadable)
    print(json.dumps({name: result[name] for name in (
        'kept', 'rejected', 'foreground_iou', 'mean_iou') if result[name] is not None}, indent=1))
    for kind in ('attributes', 'parts'):
        for name, entry in result['reliability'][kind].items():
            print(f'{name:15} {entry["verdict"]:27} {entry["reason"]}')
    print(f'{args.out}/report.html and report.json')

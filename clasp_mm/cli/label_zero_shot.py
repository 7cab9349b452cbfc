"""Score CLIP's own attribute labels, without any training, by the metrics of configs/attribute."""

import argparse
from pathlib import Path

from .options import add_clip, add_device, add_out, clip_weights

EPILOG = """\
The labels that pretraining learns from, scored on the annotated people: what a fine-tuned model
adds is the difference. PA-100K's attributes have built-in texts, fifteen of them those of
pretraining. For another set give --texts, a JSON file:
  {"hat": [["a photo of a person wearing a hat"], ["a photo of a person without a hat"]], ...}

examples:
  clasp label zero-shot data/pa100k/annotation.mat --images data/pa100k/data \\
      --clip-pretrained path/to/ViT-B-32.pt
  clasp label zero-shot work_dirs/quickstart_downstream/data/attribute/annotation.mat --split val \\
      --images work_dirs/quickstart_downstream/data/attribute/data \\
      --clip local-dir:work_dirs/quickstart/mini_clip
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('annotation', help='annotation.mat or dataset_zs_run0.pkl')
    parser.add_argument('--images', type=Path, required=True, metavar='FOLDER',
                        help='of the people')
    parser.add_argument('--split', default='test', help='(%(default)s)')
    add_clip(parser)
    parser.add_argument('--texts', type=Path, metavar='JSON', help='(default: those for PA-100K)')
    add_device(parser)
    add_out(parser, 'work_dirs/zero_shot')


def run(args: argparse.Namespace) -> None:
    import json

    from clasp_mm.datasets.attribute_files import read_attribute_file
    from clasp_mm.evaluation.functional import attribute_table
    from clasp_mm.labelling.zero_shot import pa100k_texts, read_texts, score_zero_shot
    from clasp_mm.pseudo_labels.clip_model import build_clip
    from clasp_mm.utils.files import read_json, write_json
    table = read_attribute_file(args.annotation)
    texts = read_texts(read_json(args.texts)) if args.texts else pa100k_texts()
    clip = build_clip(args.clip, clip_weights(args), args.device)
    result = score_zero_shot(clip, table, args.split, args.images, texts)
    print(attribute_table(result, result['attributes']))
    shown = {name: result[name] for name in ('mA', 'accuracy', 'precision', 'recall', 'F1',
                                             'num_undefined')}
    print(json.dumps(dict(split=args.split, clip=clip.identity, **shown), indent=1))
    rows = {name: values.tolist() for name, values in result['per_attribute'].items()}
    write_json(args.out / 'zero_shot.json', dict(
        shown, split=args.split, clip=clip.identity, attributes=result['attributes'],
        per_attribute=rows))

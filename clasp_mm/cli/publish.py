"""Publish a model of any task: {name}_{date}-{sha8}.pth, .safetensors, config, side-car, entry."""

import argparse

from .options import add_out, usage

EPILOG = """\
Of pretraining the teacher's backbone is published, of a task the whole model (averaged weights
where the run had an EMAHook). Refused are NaN, missing or unexpected tensors, a config that is not
the checkpoint's own, and a run from code that was not committed. The folder's metafile.yml gets the
model's entry; CLASP_ZOO=FOLDER then makes its name known to get_model, inference and list_models.

examples:
  clasp publish work_dirs/pose/best_coco_AP_epoch_210.pth my_pose --out work_dirs/zoo \\
      --data COCO --data-licence 'CC BY 4.0'
  clasp publish work_dirs/reid/epoch_120.pth my_reid --out work_dirs/zoo --part test \\
      --result mAP=89.1 --result rank1=95.0 --dataset Market-1501 --data Market-1501 \\
      --data-licence 'research only' --push me/my_reid
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('checkpoint', help='checkpoint of a run')
    parser.add_argument('name', help='name of the model, as clasp_pcmoe-swin-base_luperson')
    add_out(parser, 'work_dirs/published')
    parser.add_argument('--config', help='config of the run; by default the one beside the '
                        'checkpoint')
    parser.add_argument('--data', help='what it was trained on; by default what the zoo says of '
                        'the model or config of that name, so the next two')
    parser.add_argument('--data-licence', help='terms of that')
    parser.add_argument('--recipe', help='how it was trained, in words')
    parser.add_argument('--result', action='append', metavar='[TASK/]METRIC=VALUE', default=[],
                        help='a result; without any those of the run\'s own validation are taken')
    parser.add_argument('--dataset', help='what the results are of, in words')
    parser.add_argument('--part', choices=('val', 'test'), default='val',
                        help='data of the config that the results are of (%(default)s)')
    parser.add_argument('--scored-on', metavar='PATH', help='where they are of other data: their '
                        'list, annotation file or folder')
    parser.add_argument('--tta', action='store_true', help='they are of clasp test --tta')
    parser.add_argument('--allow-dirty', action='store_true', help='publish in spite of another '
                        'config or of uncommitted code; the side-car says so')
    files = parser.add_mutually_exclusive_group()
    files.add_argument('--no-safetensors', action='store_true', help='the .pth alone')
    files.add_argument('--no-pth', action='store_true', help='the .safetensors alone')
    parser.add_argument('--half', action='store_true', help='as float16, in half the bytes')
    parser.add_argument('--push', metavar='OWNER/NAME', help='put it into that repository of the '
                        'Hugging Face hub too (made if it is not there, as who `hf auth login` or '
                        'HF_TOKEN says), with a model card; hf-hub:OWNER/NAME then names it')


def run(args: argparse.Namespace) -> None:
    if args.push and args.no_safetensors:
        usage('--push needs the .safetensors that --no-safetensors leaves out')
    from clasp_mm.zoo.entry import About, parse_results
    from clasp_mm.zoo.publish import publish_model
    from clasp_mm.zoo.push import REPOSITORY, push_model
    if args.push and not REPOSITORY.fullmatch(args.push):
        usage(f'--push {args.push:.200}: a repository of the hub is named as OWNER/NAME')
    path = publish_model(
        args.checkpoint, args.name, args.out, args.config,
        about=About(args.data, args.data_licence, args.recipe, args.dataset),
        results=parse_results(args.result) if args.result else None, part=args.part,
        scored_on=args.scored_on, tta=args.tta, allow_dirty=args.allow_dirty,
        pth=not args.no_pth, safetensors=not args.no_safetensors, half=args.half)
    print(path)
    if args.push:
        print(push_model(path, args.push))

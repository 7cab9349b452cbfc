"""Draw what a fine-tuned model finds: skeletons, body parts, boxes or attributes."""

import argparse

from .options import TASKS, add_device_and_precision, add_out, usage

EPILOG = """\
Every image becomes a picture and every video a video below --out; predictions.json lists what was
found in each frame. Pose needs boxes of people: give those of a detector, or one person an image.
Of attributes, every image is one person, cut out, or has --boxes. torchrun shares the images among
its processes.

examples:
  clasp demo parsing photos/
  clasp demo detection photos/ --config DET.py --checkpoint DET.pth --out work_dirs/found
  clasp demo pose photos/ --boxes work_dirs/found/predictions.json \\
      --config POSE.py --checkpoint POSE.pth --out work_dirs/posed
  clasp demo reid queries/ --gallery people/ --config REID.py --checkpoint REID.pth \\
      --out work_dirs/ranked
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('task', choices=TASKS, help='what the model does')
    parser.add_argument('inputs', nargs='+', metavar='IMAGE|FOLDER|VIDEO',
                        help='what it looks at')
    parser.add_argument('--config', help='config of the model, or its name in the zoo; by default '
                        "the one beside --checkpoint, or the zoo's model of the task")
    parser.add_argument('--checkpoint', help='checkpoint of its training; by default the '
                        "zoo's of that name")
    add_out(parser, 'work_dirs/demo')
    parser.add_argument('--boxes', metavar='JSON',
                        help='boxes of the people, [{"file": "a.jpg", "boxes": [[x1, y1, x2, y2], '
                        '...]}, ...]; of attribute, reid and parsing each is cut out')
    parser.add_argument('--gallery', metavar='FOLDER',
                        help='reid: people to search among; every image is one person')
    parser.add_argument('--query', nargs=5, metavar=('IMAGE', 'X1', 'Y1', 'X2', 'Y2'),
                        help='person_search: an image, and the box in pixels of the person to '
                        'search for; without, everybody is drawn')
    parser.add_argument('--min-score', type=float, default=0.3, metavar='S',
                        help='least score of a keypoint, box or attribute that is drawn, and of a '
                        'box that is taken from --boxes (%(default)s)')
    add_device_and_precision(parser)


def run(args: argparse.Namespace) -> None:
    if args.boxes and args.task == 'detection':
        usage('--boxes goes with the other tasks, not with detection')
    if (args.gallery is None) == (args.task == 'reid'):
        usage('reid needs --gallery, and nothing else takes it')
    if args.query:
        if args.task != 'person_search':
            usage(f'--query goes with person_search, not with {args.task}')
        try:
            args.query = (args.query[0], [float(one) for one in args.query[1:]])
        except ValueError:
            usage(f'--query {" ".join(args.query)}: the box must be four numbers')
    from clasp_mm.inferencers.inferencer import Inferencer
    from clasp_mm.utils.shards import own_process
    rank, world_size = own_process()
    model = Inferencer(args.task, args.config, args.checkpoint, args.device, args.amp)
    entries = model.stream(
        args.inputs, boxes=args.boxes, out_dir=args.out, min_score=args.min_score,
        gallery=args.gallery, query=args.query, progress=rank == 0, rank=rank,
        world_size=world_size)
    what = 'entries in predictions.json' if world_size == 1 else f'entries of process {rank}'
    print(f'{args.out}: {sum(1 for _ in entries)} {what}, and their pictures')

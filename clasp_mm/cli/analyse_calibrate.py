"""Find the similarity from which a re-identification model takes two images as one person."""

import argparse

from .options import add_device, add_out

EPILOG = """\
FOLDER holds one folder of images for each person; take people whom the model has not seen, under
the cameras it is meant for. DIR gets calibrated.pth, the weights with the threshold, and the
histograms, similarities.png. Then, in Python:
  model = clasp_mm.inferencers.reid.load(CONFIG, 'DIR/calibrated.pth')
  clasp_mm.match('a.jpg', 'b.jpg', model)      # same, different or unsure

example:
  clasp analyse calibrate people/ --config REID.py --checkpoint REID.pth \\
      --false-match-rate 1e-3
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folder', help='one folder of images for each person')
    parser.add_argument('--config', required=True,
                        help='config of the model, or its name in the zoo')
    parser.add_argument('--checkpoint', required=True,
                        help='checkpoint of its training, or its name in the zoo')
    parser.add_argument('--false-match-rate', type=float, default=1e-3, metavar='RATE',
                        help='share of pairs of different people that may be taken as one '
                        '(%(default)s)')
    add_device(parser)
    add_out(parser, 'work_dirs/calibrated')


def run(args: argparse.Namespace) -> None:
    from clasp_mm.inferencers.verification import calibrate
    from clasp_mm.visualization.analysis import write_png
    from clasp_mm.visualization.similarity import draw_verification
    found = calibrate(args.config, args.checkpoint, args.folder, args.out / 'calibrated.pth',
                      args.false_match_rate, args.device)
    print(f'{found.num_people} people, {found.num_same} pairs of one person, '
          f'{found.num_different} of different ones\n'
          f'equal error rate {100 * found.equal_error_rate:.2f} %\n'
          f'threshold {found.threshold:.6f} (95 % interval {found.low:.6f} to {found.high:.6f}) at '
          f'a false match rate of {found.false_match_rate:g}; there '
          f'{100 * found.false_non_match_rate:.2f} % of the pairs of one person are missed')
    write_png(draw_verification(found.to_dict()), args.out / 'similarities.png')

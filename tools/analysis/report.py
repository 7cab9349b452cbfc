#!/usr/bin/env python
"""Write a run's page: health, curves, tables and pictures in one file that needs no server."""

import argparse
import sys

from clasp_mm.utils.device import add_device_argument, announce_device

EPILOG = """\
The page is WORK_DIR/report.html; tables (*.md) and pictures (*.png) of WORK_DIR/analysis, where
tools/analysis/* may write (--out WORK_DIR/analysis), are in it. --data also runs, on the last
checkpoint, expert use, t-SNE (where the data have ground truth) and task conflict first.

examples:
  python tools/analysis/report.py work_dirs/my_run
  python tools/analysis/report.py work_dirs/quickstart/seed0/clasp \\
      --data work_dirs/quickstart/data/held_out
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('work_dir', help='folder of a run')
    parser.add_argument('--data', metavar='FOLDER', help='images to run the analyses on')
    parser.add_argument('--batches', type=int, default=8,
                        help='of the training data, for the conflict (%(default)s)')
    add_device_argument(parser)
    args = parser.parse_args()
    from clasp_mm.compat import quiet_mmcv_lite
    from clasp_mm.engine.run_report import write_run_report  # slow, and not for --help
    quiet_mmcv_lite()
    try:
        if args.data:
            from clasp_mm.analysis.run import analyse_run
            device = announce_device(args.device)
            for name, table in analyse_run(args.work_dir, args.data, device,
                                           args.batches).items():
                print(f'{name}\n{table}\n')
        print(write_run_report(args.work_dir))
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'report.py: {error}')


if __name__ == '__main__':
    main()

#!/usr/bin/env python
"""Evaluate a checkpoint by a config that has a test set and metrics.

On several GPUs: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [the options below].
"""

import argparse
import json
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from clasp_mm.engine.cfg_options import CfgOptions
from clasp_mm.engine.launch import leave_together, load_config
from clasp_mm.models.weights.coverage import check_weights
from clasp_mm.models.weights.find import find_weights
from clasp_mm.utils.files import write_text


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file, or a published model: its file (.pth, '
                        '.safetensors) or its name in CLASP_ZOO')
    parser.add_argument('--work-dir', help='the log (default: work_dirs/NAME)')
    parser.add_argument('--tta', action='store_true',
                        help="test-time augmentation by the config's tta_pipeline and tta_model")
    parser.add_argument('--out', metavar='JSON', help='write the metrics to this file')
    parser.add_argument(
        '--cfg-options', nargs='+', action=CfgOptions, metavar='KEY=VALUE',
        help='override config keys, such as test_dataloader.batch_size=64; an unknown key is an '
        'error')
    parser.add_argument(
        '--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none',
        help='set by dist_test.sh')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        if '://' not in args.checkpoint:
            args.checkpoint = str(find_weights(args.checkpoint))
        cfg = load_config(args.config, args.work_dir, args.launcher, args.cfg_options)
    except (FileNotFoundError, RuntimeError, ValueError) as error:
        raise SystemExit(f'test.py: {error}') from error
    missing = [key for key in ('test_cfg', 'test_dataloader', 'test_evaluator')
               if cfg.get(key) is None]
    if missing:
        raise SystemExit(f'test.py: {args.config} has no {", ".join(missing)}: it is no config '
                         'for testing (pretraining has no test; see tools/analysis)')
    if args.tta:
        if 'tta_pipeline' not in cfg or 'tta_model' not in cfg:
            raise SystemExit(f'test.py --tta: {args.config} has no tta_pipeline and tta_model')
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        cfg.model = dict(cfg.tta_model, module=cfg.model)
    cfg.load_from = args.checkpoint
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if Path(args.checkpoint).is_file():
        model = runner.model
        while hasattr(model, 'module'):  # several processes, test-time augmentation
            model = model.module
        try:
            check_weights(model, args.checkpoint)
        except ValueError as error:
            raise SystemExit(f'test.py: {error}') from error
    metrics = runner.test()
    if args.out and is_main_process():
        write_text(args.out, json.dumps(metrics, indent=2, default=float) + '\n')
    leave_together()


if __name__ == '__main__':
    main()

#!/usr/bin/env python
"""Train by a config: pretraining, or a downstream task of any OpenMMLab host.

Example: python tools/train.py configs/pretrain/dino_swin-tiny_8xb96-100e_luperson-256x128.py
On several GPUs: bash tools/dist_train.sh CONFIG GPUS [the options below].
"""

import argparse
from contextlib import ExitStack
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from rich.console import Console

import clasp_mm
from clasp_mm.engine.cfg_options import CfgOptions
from clasp_mm.engine.estimate import describe, estimate
from clasp_mm.engine.launch import (
    add_tensorboard,
    check_batches,
    hold_work_dir,
    leave_together,
    load_config,
    set_amp,
    set_compile,
    set_resume,
)
from clasp_mm.utils.processes import end_with_parent
from clasp_mm.zoo.publish import config_refusals, publish_run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='logs and checkpoints (default: work_dirs/NAME)')
    parser.add_argument(
        '--resume', nargs='?', const='auto', metavar='CKPT',
        help='continue from CKPT; without a value or with "auto", from the readable checkpoint of '
        'the work directory with the highest iteration')
    parser.add_argument(
        '--amp', nargs='?', const='bf16', choices=('bf16', 'fp16'),
        help='mixed precision (without a value: bf16); needs a GPU')
    parser.add_argument('--compile', action='store_true',
        help='train with compiled backbones (torch 2.4 or newer; a C++ compiler on CPUs, triton on '
        'GPUs); the first step of each image size takes a minute or more')
    parser.add_argument(
        '--estimate', nargs='?', const=10, type=int, metavar='STEPS',
        help='do not train: run a few steps (10) and tell time, memory, disk and batch size; '
        'writes WORK_DIR/estimate.json only')
    parser.add_argument('--tensorboard', action='store_true', help='log for TensorBoard too')
    parser.add_argument('--no-validate', action='store_true', help='train without validation')
    parser.add_argument(
        '--cfg-options', nargs='+', action=CfgOptions, metavar='KEY=VALUE',
        help='override config keys, such as train_dataloader.batch_size=64 '
        'model.backbone.drop_path_rate=0.2; an unknown key is an error')
    parser.add_argument(
        '--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none',
        help='set by dist_train.sh and slurm_train.sh')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.launcher == 'pytorch':
        end_with_parent()  # which is torchrun
    with ExitStack() as stack:
        run(args, stack)


def run(args: argparse.Namespace, stack: ExitStack) -> None:
    try:
        cfg = load_config(args.config, args.work_dir, args.launcher, args.cfg_options)
        if args.estimate is None:
            stack.enter_context(hold_work_dir(cfg))
        if args.resume or (cfg.get('resume') and not cfg.get('load_from')):
            set_resume(cfg, args.resume or 'auto')
        if args.amp:
            set_amp(cfg, args.amp)
        if args.compile:
            set_compile(cfg)
    except (ValueError, FileNotFoundError, RuntimeError) as error:
        raise SystemExit(f'train.py: {error}') from error
    if args.tensorboard:
        add_tensorboard(cfg)
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.estimate is not None:
        try:
            report = estimate(cfg, args.estimate)
        except (FileNotFoundError, ValueError) as error:
            raise SystemExit(f'train.py --estimate: {error}') from error
        if is_main_process():
            Console(highlight=False, soft_wrap=True).print(describe(report), markup=False)
        leave_together()
        return
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    try:
        check_batches(runner)
    except ValueError as error:
        raise SystemExit(f'train.py: {error}') from error
    runner.logger.info(f'clasp_mm {clasp_mm.__version__} from {Path(clasp_mm.__file__).parent}')
    for refusal in config_refusals(cfg):
        runner.logger.warning(f'publish_model will refuse this run: {refusal}')
    runner.train()
    if is_main_process() and cfg.model.type in (
            'clasp_mm.DINO', 'clasp_mm.SOLIDER', 'clasp_mm.CLASP'):
        path = publish_run(cfg.work_dir, Path(cfg.work_dir) / Path(cfg.filename).name)
        runner.logger.info(f'published {path}')
    leave_together()


if __name__ == '__main__':
    main()

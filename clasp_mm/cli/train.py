"""Train by a config: pretraining, or a downstream task of any OpenMMLab host.

On several GPUs: bash tools/dist_train.sh CONFIG GPUS [the options below].
"""

import argparse
from contextlib import nullcontext

from .options import add_config_arguments, work

EPILOG = """\
example:
  clasp train configs/pretrain/dino_swin-tiny_8xb96-100e_luperson-256x128.py
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common_arguments(parser)
    parser.add_argument(
        '--estimate', nargs='?', const=10, type=int, metavar='STEPS',
        help='do not train: run a few steps (10) and tell time, memory, disk and batch size; '
        'writes WORK_DIR/estimate.json only')


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``clasp train`` and ``clasp estimate`` share."""
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='logs and checkpoints (default: work_dirs/NAME)')
    parser.add_argument(
        '--resume', nargs='?', const='auto', metavar='CKPT',
        help='continue from CKPT; without a value or with "auto", from the readable checkpoint of '
        'the work directory with the highest epoch')
    parser.add_argument(
        '--amp', nargs='?', const='bf16', choices=('bf16', 'fp16'),
        help='mixed precision (without a value: bf16); needs a GPU')
    parser.add_argument(
        '--compile', action='store_true',
        help='train with compiled backbones (torch 2.4 or newer; a C++ compiler on CPUs, triton on '
        'GPUs); the first step of each image size takes a minute or more')
    parser.add_argument('--tensorboard', action='store_true', help='log for TensorBoard too')
    parser.add_argument('--no-validate', action='store_true', help='train without validation')
    add_config_arguments(
        parser, 'train_dataloader.batch_size=64 model.backbone.drop_path_rate=0.2',
        'dist_train.sh and slurm_train.sh')


def run(args: argparse.Namespace) -> None:
    if args.launcher == 'pytorch':
        from clasp_mm.utils.processes import end_with_parent
        end_with_parent()  # which is torchrun
    from clasp_mm.engine import launch
    cfg = launch.load_config(args.config, args.work_dir, args.launcher, args.cfg_options)
    with launch.hold_work_dir(cfg) if args.estimate is None else nullcontext():
        if args.resume or (cfg.get('resume') and not cfg.get('load_from')):
            launch.set_resume(cfg, args.resume or 'auto')
        if args.amp:
            launch.set_amp(cfg, args.amp)
        if args.compile:
            launch.set_compile(cfg)
        if args.tensorboard:
            launch.add_tensorboard(cfg)
        if args.no_validate:
            cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        if args.estimate is None:
            _train(cfg)
        else:
            _estimate(cfg, args.estimate)
        launch.leave_together()


def _estimate(cfg, steps: int) -> None:
    from mmengine.dist import is_main_process
    from rich.console import Console

    from clasp_mm.engine.estimate import describe, estimate
    report = estimate(cfg, steps)
    if is_main_process():
        Console(highlight=False, soft_wrap=True).print(describe(report), markup=False)


def _train(cfg) -> None:
    from pathlib import Path

    from mmengine.dist import is_main_process
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    import clasp_mm
    from clasp_mm.engine.launch import check_batches
    from clasp_mm.zoo.index import PRETRAINING
    from clasp_mm.zoo.publish import config_refusals, publish_run
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    check_batches(runner)
    runner.logger.info(f'clasp_mm {clasp_mm.__version__} from {Path(clasp_mm.__file__).parent}')
    for refusal in config_refusals(cfg):
        runner.logger.warning(f'publish_model will refuse this run: {refusal}')
    with work():
        runner.train()
        if is_main_process() and cfg.model.type in PRETRAINING:
            path = publish_run(cfg.work_dir, Path(cfg.work_dir) / Path(cfg.filename).name)
            runner.logger.info(f'published {path}')

"""Evaluate a checkpoint by a config that has a test set and metrics.

On several GPUs: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [the options below].
"""

import argparse
from pathlib import Path

from .options import add_config_arguments, work


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file, or a published model: its file (.pth, '
                        '.safetensors) or its name in CLASP_ZOO')
    parser.add_argument('--work-dir', help='the log (default: work_dirs/NAME)')
    parser.add_argument('--tta', action='store_true',
                        help="test-time augmentation by the config's tta_pipeline and tta_model")
    parser.add_argument('--out', type=Path, metavar='DIR',
                        help='also write the metrics, to DIR/metrics.json')
    add_config_arguments(parser, 'test_dataloader.batch_size=64', 'dist_test.sh')


def run(args: argparse.Namespace) -> None:
    """Evaluate, print the metrics, and write them where ``--out`` says.

    Raises:
        ValueError: The config is none for testing, or the weights do not fit its model.
    """
    from mmengine.dist import is_main_process
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    from clasp_mm.engine.launch import leave_together, load_config
    from clasp_mm.models.weights.coverage import check_weights
    from clasp_mm.models.weights.find import find_weights
    from clasp_mm.utils.files import write_json
    if '://' not in args.checkpoint:
        args.checkpoint = str(find_weights(args.checkpoint))
    cfg = load_config(args.config, args.work_dir, args.launcher, args.cfg_options)
    missing = [key for key in ('test_cfg', 'test_dataloader', 'test_evaluator')
               if cfg.get(key) is None]
    if missing:
        raise ValueError(f'{args.config} has no {", ".join(missing)}: it is no config for testing '
                         '(pretraining has no test; see clasp analyse)')
    if args.tta:
        if 'tta_pipeline' not in cfg or 'tta_model' not in cfg:
            raise ValueError(f'--tta: {args.config} has no tta_pipeline and tta_model')
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        cfg.model = dict(cfg.tta_model, module=cfg.model)
    cfg.load_from = args.checkpoint
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if Path(args.checkpoint).is_file():
        model = runner.model
        while hasattr(model, 'module'):  # several processes, test-time augmentation
            model = model.module
        check_weights(model, args.checkpoint)
    with work():
        metrics = runner.test()
    if args.out and is_main_process():
        write_json(args.out / 'metrics.json', metrics, indent=2, default=float)
    leave_together()

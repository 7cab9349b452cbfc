"""From a config file and the options of a command line to a Config the Runner can start from."""

import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.runner import Runner

from clasp_mm.compat import check_operators, prepare_cpu_distributed
from clasp_mm.models.compiling import check_compiler
from clasp_mm.models.weights.mmengine_reader import guard_checkpoints
from clasp_mm.utils.claims import hold
from clasp_mm.utils.device import set_matmul_precision
from clasp_mm.utils.packages import unaccepted
from clasp_mm.utils.resources import config_file

from .cfg_options import merge_options
from .checkpoints import check_resumable, checkpoint_to_resume
from .config_check import check_config

_AMP_WRAPPERS = {
    'OptimWrapper': 'AmpOptimWrapper',
    'mmengine.OptimWrapper': 'mmengine.AmpOptimWrapper',
    'clasp_mm.DINOOptimWrapper': 'clasp_mm.DINOAmpOptimWrapper',
}
_AMP_DTYPES = {'bf16': 'bfloat16', 'fp16': 'float16'}
_RANK = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}


def load_config(path: str, work_dir: str | None = None, launcher: str = 'none',
                options: Mapping[str, Any] | None = None) -> Config:
    """Read a config, merge the command line into it, and check every key.

    Also imports every registered type of clasp_mm, so that an import that fails shows its own
    error, warns of hosts in versions that are not accepted, lets MMEngine read checkpoints as
    clasp_mm does, so that none runs code, and sets how GPUs multiply float32 matrices: by the
    config's ``float32_matmul_precision``, ``high`` (TF32) where it is not given.

    Args:
        path: Config file, or one of clasp_mm's as ``configs/...``.
        work_dir: Where logs and checkpoints go; by default the config's own value, else
            ``work_dirs/`` and the config's name.
        launcher: none, pytorch, slurm or mpi.
        options: Dotted keys and their values, as from ``--cfg-options``.

    Raises:
        FileNotFoundError: There is no such config.
        ValueError: No such ``float32_matmul_precision``.
        ConfigError: A key, in the file or in ``options``, that nothing reads, or one of
            ``options`` that cannot be set.
        RuntimeError: A launcher that needs GPUs, and none is there.
        NotImplementedError: An operator of mmcv that nothing serves here.
    """
    for room in ('models', 'datasets', 'engine', 'evaluation'):
        import_module(f'clasp_mm.{room}')
    guard_checkpoints()
    cfg = Config.fromfile(config_file(path))
    merge_options(cfg, options or {})
    for fault in unaccepted(cfg.get('default_scope') or 'mmengine'):
        print_log(f'{fault}: `clasp install` mends that', 'current', logging.WARNING)
    check_config(cfg, overrides=options or ())
    check_operators(cfg)
    set_matmul_precision(cfg.get('float32_matmul_precision', 'high'))
    cfg.launcher = launcher
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(path).stem)
    prepare_cpu_distributed(cfg)
    return cfg


def hold_work_dir(cfg: Config) -> AbstractContextManager[None]:
    """Have the work directory alone: of a launch's processes, the first one holds it for all.

    Raises:
        HeldError: Another run has it; see :func:`clasp_mm.utils.claims.hold`.
    """
    first = os.environ.get(_RANK.get(cfg.launcher, ''), '0') == '0'
    return hold(cfg.work_dir) if first else nullcontext()


def leave_together() -> None:
    """Wait for all processes and close their group.

    A gloo process that simply ends can abort another that is still ending, and torchrun then calls
    a finished run a failure.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def set_resume(cfg: Config, resume: str) -> None:
    """Continue from a checkpoint: its path, or ``auto`` for the last one in the work directory.

    ``auto`` takes the readable one with the highest epoch; where there is none, the run begins
    as its config says. No code that a checkpoint may hide is run.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: The file is damaged, is no checkpoint of a run or needs code to be run.
    """
    if resume == 'auto':
        found = checkpoint_to_resume(cfg.work_dir)
        resume = found and str(found)
    elif '://' not in resume:
        if not Path(resume).is_file():
            raise FileNotFoundError(
                f'no checkpoint {resume!r} to resume from; give the path of a .pth file, or "auto" '
                f'for the last one in {cfg.work_dir}')
        check_resumable(resume)
    cfg.resume = resume is not None
    cfg.load_from = resume or cfg.get('load_from')


def check_batches(runner: Runner) -> None:
    """Build the training data, and see that they fill a batch.

    Raises:
        ValueError: They do not, and the loader drops what is left over.
    """
    loader = runner.train_loop.dataloader
    if len(loader) == 0:
        images, processes = len(loader.dataset), get_world_size()
        shared = f' in each of {processes} processes' if processes > 1 else ''
        raise ValueError(
            f'{images} images, batches of {loader.batch_size}{shared}: not one batch is full; '
            'train on more, or set train_dataloader.batch_size='
            f'{max(1, images // processes)} or less (--cfg-options)')


def set_amp(cfg: Config, dtype: str) -> None:
    """Train in mixed precision, by the optimizer wrapper of the same kind that autocasts.

    ``dtype`` is ``bf16``, which needs no loss scaling, or ``fp16``, with dynamic loss scaling.

    Raises:
        ValueError: No such precision, or an optimizer wrapper without an autocasting sibling.
        RuntimeError: No GPU: mmengine's autocasting wrapper refuses the CPU.
    """
    if dtype not in _AMP_DTYPES:
        raise ValueError(f'no precision {dtype!r}; --amp takes {" or ".join(_AMP_DTYPES)}')
    if not torch.cuda.is_available():
        raise RuntimeError('--amp needs a GPU, and torch shows none; leave it out on the CPU')
    wrapper = cfg.optim_wrapper
    name = wrapper.get('type', 'OptimWrapper')
    if name not in {*_AMP_WRAPPERS, *_AMP_WRAPPERS.values()}:
        raise ValueError(
            f'optim_wrapper.type {name!r} has no sibling known for --amp; set its type and dtype '
            f'in the config, or use one of {", ".join(_AMP_WRAPPERS)}')
    wrapper.type = _AMP_WRAPPERS.get(name, name)
    wrapper.dtype = _AMP_DTYPES[dtype]
    wrapper.loss_scale = dict(enabled=False) if dtype == 'bf16' else 'dynamic'


def set_compile(cfg: Config) -> None:
    """Train with compiled backbones: :class:`~clasp_mm.engine.CompileHook`.

    The crops of DINO and CLASP have few sizes, each of which gets code of its own; elsewhere
    torch lets sizes vary once a second one comes.

    Raises:
        ValueError: The config asks MMEngine to compile the whole step.
        RuntimeError: ``torch.compile`` does not work here; the message says what is missing.
    """
    if cfg.get('compile'):
        raise ValueError(f'--compile compiles the backbones, and compile={cfg.compile!r} of the '
                         'config has MMEngine compile the whole step: leave one of them out')
    device = torch.device('cpu')
    if torch.cuda.is_available():
        device = torch.device('cuda', int(os.environ.get(
            'LOCAL_RANK', os.environ.get('SLURM_LOCALID', 0))) % torch.cuda.device_count())
    check_compiler(device)
    crops = cfg.model.type in ('clasp_mm.DINO', 'clasp_mm.CLASP')
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or ()),
                        dict(type='clasp_mm.CompileHook', dynamic=False if crops else None)]


def add_tensorboard(cfg: Config) -> None:
    """Write the log's scalars for TensorBoard too, under ``{work_dir}/{time}/vis_data``."""
    visualizer = cfg.get('visualizer') or dict(type='mmengine.Visualizer')
    backends = list(visualizer.get('vis_backends') or [dict(type='mmengine.LocalVisBackend')])
    if all('TensorboardVisBackend' not in backend['type'] for backend in backends):
        backends.append(dict(type='mmengine.TensorboardVisBackend'))
    cfg.visualizer = {**visualizer, 'vis_backends': backends}

"""What a run will cost, from a few of its real steps."""

import copy
import gc
import os
import resource
import shutil
import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.dist import get_rank, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from clasp_mm.compat.private_torch import tensors_of
from clasp_mm.utils.files import write_json
from clasp_mm.utils.processes import usable_cores

from .jobs import peak_bytes
from .label_cost import LABELER, label_cost
from .launch import check_batches

WARMUP = 3  # steps that are not counted: memory is allocated, kernels are chosen or compiled
LOG_LINE = 700  # bytes of log, scalars and metrics for every logged step
GIB = 2**30
_PATIENCE = timedelta(minutes=1)  # with a process that does not end its steps as the others do
_SPARE = 0.92  # share of the GPU's memory that the advised batch may fill


class _Enough(Exception):
    """Ends the measured run."""


class _Clock(Hook):
    """Times steps, waiting for the data included, and ends the run."""

    priority = 'LOWEST'

    def __init__(self, steps: int) -> None:
        self.left = WARMUP + steps
        self.seconds: list[float] = []
        self.waited: list[float] = []

    def before_train(self, runner: Runner) -> None:
        self.last = _now()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self.waited.append(_now() - self.last)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        now = _now()
        self.seconds.append(now - self.last)
        self.last = now
        self.left -= 1
        if self.left == 0:
            raise _Enough


class _Measured(NamedTuple):
    step: float  # median seconds, without the wait for data where workers fetch them
    fetch: float  # seconds in which one process makes one sample
    steps: int
    max_steps: int
    max_epochs: int
    images: int
    peak: int  # bytes
    checkpoint: int  # bytes


def estimate(cfg: Config, steps: int = 10) -> dict[str, Any]:
    """Run a few real steps of a config and tell what the whole run will take.

    The steps run in a temporary folder; of ``cfg.work_dir`` only ``estimate.json`` is written. A
    stage 1 that is not there yet, and labels that are not made yet, are left out of the steps.

    Args:
        cfg: From :func:`clasp_mm.engine.launch.load_config`; not changed.
        steps: Steps to time, after three that are not.

    Returns:
        The report, plain data: seconds, hours, GiB. See :func:`describe`.

    Raises:
        ValueError: ``steps`` is less than 1, the images do not fill a batch, not even one image
            fits the GPU, or a batch does not fit one process's while the others wait for it.
        FileNotFoundError: The data are not there.
    """
    if steps < 1:
        raise ValueError(f'--estimate takes at least one step, got {steps}')
    cfg = copy.deepcopy(cfg)
    notes: list[str] = []
    stage1 = cfg.model.get('stage1')
    if stage1 and not Path(stage1).is_file():
        cfg.model.stage1 = None
        notes.append(f'stage 1, {stage1}, is not there yet: measured with random weights')
    labels = label_cost(cfg)
    _leave_out_labels(cfg)

    batch_size = cfg.train_dataloader.batch_size
    first = advised = None
    while first is None:
        first = _measure(cfg, steps, batch_size)
        if first is None:
            notes.append(f'a batch of {batch_size} does not fit the GPU')
            if batch_size == 1:
                raise ValueError('not even one image fits the GPU: use a smaller model, or '
                                 'model.backbone.with_cp=True')
            batch_size //= 2
    if torch.cuda.is_available() and batch_size > 1:
        second = _measure(cfg, 1, batch_size // 2)
        if second is not None:  # by a line through the memory of two
            total = torch.cuda.get_device_properties(0).total_memory
            advised = largest_batch((batch_size // 2, second.peak), (batch_size, first.peak),
                                    _SPARE * total)
    report = dict(_report(cfg, batch_size, first, labels, notes), advised_batch_size=advised)
    if is_main_process():
        write_json(Path(cfg.work_dir) / 'estimate.json', report)
    return report


def _leave_out_labels(cfg: Config) -> None:
    """Replace the labeler by placeholders, unless it reads a store that is there."""
    pipeline = cfg.train_dataloader.dataset.get('pipeline', [])
    for i, step in enumerate(pipeline):
        if step['type'] == LABELER and not os.path.isdir(step.get('store') or ''):
            head = cfg.model.get('attr_head') or dict(attribute_sizes=(2,))
            pipeline[i] = dict(type='clasp_mm.PlaceholderLabels',
                               num_attributes=len(head['attribute_sizes']))


def _measure(cfg: Config, steps: int, batch_size: int) -> _Measured | None:
    """Time steps with a batch size; None where it does not fit the GPU of every process."""
    cfg = copy.deepcopy(cfg)
    cfg.train_dataloader.batch_size = batch_size
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.load_from, cfg.resume, cfg.log_level = None, False, 'ERROR'
    cfg.default_hooks = {**cfg.get('default_hooks', {}), 'checkpoint': None, 'logger': None}
    cfg.experiment_name = f'estimate_{batch_size}_{time.time_ns()}'
    cuda = torch.cuda.is_available()
    clock = _Clock(steps)
    with tempfile.TemporaryDirectory(prefix='estimate_') as folder:
        cfg.work_dir = folder
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        check_batches(runner)
        runner.register_hook(clock)
        group = (torch.distributed.new_group(backend='gloo', timeout=_PATIENCE)
                 if get_world_size() > 1 else None)
        fits = True
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        try:
            runner.train()
        except _Enough:
            pass
        except torch.cuda.OutOfMemoryError:
            fits = False
        finally:
            _close_log_files()
        measured = _read(runner, clock) if _all_fit(fits, group, batch_size) else None
        del runner
    gc.collect()
    if cuda:
        torch.cuda.empty_cache()
    return measured


def _all_fit(fits: bool, group: torch.distributed.ProcessGroup | None, batch_size: int) -> bool:
    """Whether the batch fits every process: they must go on together, or end."""
    if group is None:
        return fits
    missing = torch.tensor(0 if fits else 1)
    try:
        torch.distributed.all_reduce(missing, group=group)
    except RuntimeError as error:
        if fits:
            raise
        raise ValueError(
            f'a batch of {batch_size} does not fit the GPU of process {get_rank()}, and the '
            f'others wait for it: start again with --cfg-options train_dataloader.batch_size='
            f'{max(batch_size // 2, 1)}') from error
    return missing.item() == 0


def _read(runner: Runner, clock: _Clock) -> _Measured:
    loader = runner.train_dataloader
    counted = slice(min(WARMUP, len(clock.seconds) - 1), None)
    seconds, waited = clock.seconds[counted], clock.waited[counted]
    if loader.num_workers:  # they were ahead of these few steps, and will not always be
        seconds = [whole - wait for whole, wait in zip(seconds, waited, strict=True)]
    samples = min(8, len(loader.dataset))
    begin = time.perf_counter()
    for index in range(samples):
        loader.dataset[index]
    fetch = (time.perf_counter() - begin) / samples
    return _Measured(statistics.median(seconds), fetch, len(seconds), runner.max_iters,
                     runner.max_epochs, len(loader.dataset), _peak_memory(),
                     _tensor_bytes(runner.model.state_dict())
                     + _tensor_bytes(runner.optim_wrapper.state_dict()))


def _report(cfg: Config, batch_size: int, measured: _Measured, labels: dict | None,
            notes: list[str]) -> dict[str, Any]:
    world = get_world_size()
    cuda = torch.cuda.is_available()
    workers = cfg.train_dataloader.get('num_workers', 0)
    local = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    usable = max(min(workers, usable_cores() // local), 1)
    loading = batch_size * measured.fetch / usable if workers else 0.
    step = max(measured.step, loading)
    steps = measured.max_steps
    if labels and 'error' in labels:
        notes = [*notes, labels['error']]
    saver = cfg.get('default_hooks', {}).get('checkpoint') or {}
    logger = cfg.get('default_hooks', {}).get('logger') or {}
    units = measured.max_epochs if saver.get('by_epoch', True) else steps
    saves = max(units // saver.get('interval', 1), 1)
    kept = saver.get('max_keep_ckpts', -1)
    kept = saves if kept < 0 else min(kept, saves)
    disk = ((kept + 1) * measured.checkpoint  # one more while the next is written
            + LOG_LINE * steps // logger.get('interval', 10))
    place = Path(cfg.work_dir).absolute()
    while not place.exists():
        place = place.parent
    return dict(
        device=torch.cuda.get_device_name() if cuda else 'CPU', processes=world,
        batch_size=batch_size, images=measured.images, measured_steps=measured.steps,
        seconds_per_step=step, compute_seconds=measured.step, loading_seconds=loading,
        images_per_second=batch_size * world / step, steps=steps, hours=step * steps / 3600,
        peak_memory_gib=measured.peak / GIB,
        memory_gib=(torch.cuda.get_device_properties(0).total_memory / GIB if cuda else
                    os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / GIB),
        checkpoint_gib=measured.checkpoint / GIB, disk_gib=disk / GIB,
        disk_free_gib=shutil.disk_usage(place).free / GIB, labelling=labels, notes=notes)


def largest_batch(small: tuple[int, float], large: tuple[int, float], memory: float) -> int:
    """Largest batch that fits, memory being linear in the batch: (batch, bytes) of two of them.

    Rounded down to a multiple of 8 from 8 on; at least the larger of the two if that fits.
    """
    slope = (large[1] - small[1]) / (large[0] - small[0])
    if slope <= 0:  # too small to be seen beside the weights
        return large[0]
    batch = int(large[0] + (memory - large[1]) / slope)
    batch = batch // 8 * 8 if batch >= 8 else batch
    return max(batch, large[0] if large[1] <= memory else 1)


def describe(report: dict[str, Any]) -> str:
    """The report in lines for people."""
    size, world = report['batch_size'], report['processes']
    slow = ' (the data loader is the bottleneck: more workers or cores)' if (
        report['loading_seconds'] > report['compute_seconds']) else ''
    lines = [
        f'{report["device"]}, {world} process{"es" if world > 1 else ""}, {size} images each, '
        f'{report["images"]} images, {report["measured_steps"]} steps measured',
        f'step      {report["seconds_per_step"]:.3f} s, {report["images_per_second"]:.1f} images '
        f'a second{slow}',
        f'schedule  {report["steps"]} steps: {_time(report["hours"])}'
        + ('' if world > 1 else f'; 8 such processes: {_time(report["hours"] / 8)} or a little '
           'more'),
        f'memory    {report["peak_memory_gib"]:.1f} of {report["memory_gib"]:.1f} GiB at the peak',
        f'disk      {report["disk_gib"]:.2f} GiB (a checkpoint: {report["checkpoint_gib"]:.2f}), '
        f'{report["disk_free_gib"]:.0f} GiB are free']
    labels = report['labelling']
    if labels and 'hours' in labels:
        lines.append(f'labels    {_time(labels["hours"])} on {labels["device"]}, '
                     f'{1000 * labels["seconds_per_image"]:.0f} ms an image; {labels["how"]}')
    advised = report['advised_batch_size']
    lines.append('batch     ' + (
        f'up to {advised} images a process fit this GPU (now {size}); the learning rate follows '
        'the batch where auto_scale_lr is on' if advised else
        f'{size}: no advice on the CPU, where a larger batch is no faster'))
    if report['disk_gib'] > report['disk_free_gib']:
        lines.append('warning   the disk is too small: lower default_hooks.checkpoint.'
                     'max_keep_ckpts or use another work directory')
    lines += [f'note      {note}' for note in report['notes']]
    return '\n'.join(lines)


def _time(hours: float) -> str:
    if hours < 1 / 60:
        return f'{3600 * hours:.0f} s'
    return f'{60 * hours:.0f} min' if hours < 1.5 else f'{hours:.1f} h'


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _peak_memory() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved()
    return peak_bytes(resource.getrusage(resource.RUSAGE_SELF))


def _tensor_bytes(values: Any) -> int:
    return sum(tensor.nbytes for tensor in tensors_of(values))


def _close_log_files() -> None:
    """Let go of the log file in the temporary folder."""
    logger = MMLogger.get_current_instance()
    for handler in list(logger.handlers):
        if hasattr(handler, 'baseFilename'):
            handler.close()
            logger.removeHandler(handler)

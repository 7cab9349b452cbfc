"""Training steps of Swin-T on one device: time and memory, what they ask of it, and compiled."""

from __future__ import annotations

import copy
import time
import warnings
from collections import Counter as Counts
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity

from clasp_mm.engine.training_step import TrainingStep
from clasp_mm.models.compiling import Compilation, check_compiler, compile_backbones
from clasp_mm.utils.device import pick_device, set_matmul_precision
from clasp_mm.utils.profiling import peak_bytes, profiled
from clasp_mm.utils.timing import interleaved

from ..contest import Options
from ..launches import Counter
from ..profiling import flops_by_operator, profile_call
from ..stages import Report
from ..step import peer_step, step_config
from .machine import precisions

BATCHES = (96, 64, 32)
_PEER = 'DINO on mmpretrain\'s Swin'
_SAME_LOSS = 0.02  # of a compiled step in bfloat16, relative


def steps(report: Report) -> None:
    """Time and memory by precision and batch, then what a step asks of the device."""
    device = pick_device()
    batches = (2, ) if report.smoke else BATCHES
    options = Options(str(device), amp=True, quick=report.smoke)
    configs = {name: step_config(name, report.smoke) for name in ('dino', 'clasp')}
    built = {name.upper(): TrainingStep(cfg, batches[0], options.device, options.amp)
             for name, cfg in configs.items()}
    built[_PEER] = peer_step(configs['dino'], batches[0], options)
    flop = {}
    for name, step in built.items():
        small = sized(step, batches[-1], amp=True)
        flop[name] = sum(flops_by_operator(small).values()) / batches[-1]
    for precision, (matmul, amp) in reversed(precisions(device).items()):
        set_matmul_precision(matmul)
        for batch in batches:
            report.part(f'{precision}, batch {batch}', _time, report, {
                name: sized(step, batch, amp) for name, step in built.items()},
                flop, precision, batch)
    set_matmul_precision()
    for name in ('DINO', 'CLASP'):
        step = sized(built[name], batches[0], amp=True)
        report.part(f'{name} asks', _asks, report, name, step)
        report.part(f'{name} by part', _by_part, report, name, step)


def sized(step: TrainingStep, batch: int, amp: bool) -> TrainingStep:
    """The step of the same model on its first images, in bfloat16 or float32."""
    step = copy.copy(step)
    step.amp = amp
    step.views = [view[:batch] for view in step.views]
    step.samples = {name: value[:batch] for name, value in step.samples.items()}
    return step


def _time(report: Report, built: dict[str, TrainingStep], flop: dict[str, float],
          precision: str, batch: int) -> None:
    device = built['DINO'].device
    # The peaks first: a step that does not fit into the memory costs no time.
    peaks = {name: peak_bytes(lambda step=step: step, device, calls=1)
             for name, step in built.items()}
    times = interleaved(built, repeats=1 if report.smoke else 5, device=device)
    for name, (seconds, _) in times.items():
        report.row(f'{name} step', precision=precision, batch=batch, ms=1e3 * seconds,
                   images_per_second=batch / seconds, tflops=flop[name] * batch / seconds / 1e12,
                   peak_mib_beside_model=peaks[name] / 2**20)
    dino = times['DINO'].seconds
    report.row('ratios of step times', precision=precision, batch=batch,
               clasp_to_dino=times['CLASP'].seconds / dino,
               dino_to_peer=dino / times[_PEER].seconds)


def _asks(report: Report, name: str, step: TrainingStep) -> None:
    """Operators; on a GPU also launches, and where the host waits, which is nowhere."""
    device = torch.device(step.device)
    with Counter() as counter:
        step()
    values = dict(operators=counter.operators.total())
    if device.type == 'cpu':
        report.row(f'{name} step asks', **values)  # on a CPU it may look at values
        return
    values['launches'] = count_launches(step, device)
    waits = host_waits(step, device)
    report.check(f'{name} step makes the host wait for nothing', not waits, **values,
                 waits=sum(waits.values()), places=dict(waits.most_common(5)))


def count_launches(call: Callable[[], object], device: torch.device) -> int:
    """Kernels that a call launches on a GPU, by torch's profiler."""
    torch.cuda.synchronize(device)
    with profiled([ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        call()
        torch.cuda.synchronize(device)
    return sum(event.count for event in recorded.key_averages() if 'LaunchKernel' in event.key)


def host_waits(call: Callable[[], object], device: torch.device) -> Counts[str]:
    """Where a call makes the host wait for a GPU, as torch's sync debug mode tells."""
    torch.cuda.synchronize(device)
    torch.cuda.set_sync_debug_mode('warn')
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter('always')
            call()
    finally:
        torch.cuda.set_sync_debug_mode('default')
    return Counts(f'{Path(one.filename).name}:{one.lineno}' for one in found
                  if 'called a synchronizing' in str(one.message))


def _by_part(report: Report, name: str, step: TrainingStep) -> None:
    parts = profile_call(step, step.device)
    report.row(f'{name} step, ms by part', **{part: round(one['ms'], 2)
                                              for part, one in parts.items()})


def compiled(report: Report) -> None:
    """The first compiled steps, the steady time against the plain one, and the same loss."""
    device = pick_device()
    set_matmul_precision()
    if not report.smoke:
        try:
            check_compiler(device)
        except RuntimeError as error:
            report.leave_out('compiled steps', str(error))
            return
    for name in ('dino', 'clasp'):
        report.part(f'{name.upper()} step, compiled', _compiled, report, name, device)


def _compiled(report: Report, name: str, device: torch.device) -> None:
    backend = 'eager' if report.smoke else 'inductor'
    batch, repeats = (2, 1) if report.smoke else (BATCHES[0], 5)
    cfg = step_config(name, report.smoke)
    cfg.model.backbone.drop_path_rate = 0.  # compiled code draws other numbers
    step = TrainingStep(cfg, batch, str(device), amp=True)

    def seconds(repeats: int, warmup: int = 0) -> float:
        return interleaved(dict(step=step), repeats, warmup, device)['step'].seconds

    plain = seconds(repeats, 2)
    compile_backbones(step.model, Compilation(dynamic=False, backend=backend))
    begin = time.perf_counter()
    first = [seconds(1) for _ in range(3)]
    until_steady = time.perf_counter() - begin
    steady = seconds(repeats)
    report.row(f'{name.upper()} step, compiled', backend=backend, batch=batch,
               precision='bfloat16', first_seconds=first[0], third_seconds=first[2],
               three_seconds=until_steady, ms=1e3 * steady, plain_ms=1e3 * plain,
               ratio=steady / plain)
    if name == 'clasp':  # the noise of its gates is drawn otherwise too
        return
    state = {key: value.clone() for key, value in step.model.state_dict().items()}
    by_code = float(step.loss())
    step.model.load_state_dict(state)  # the centre of the targets has moved
    compile_backbones(step.model, None)
    plainly = float(step.loss())
    report.check('DINO loss, compiled and plain', abs(by_code / plainly - 1) <= _SAME_LOSS,
                 compiled=by_code, plain=plainly, limit=_SAME_LOSS)

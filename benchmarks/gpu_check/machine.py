"""Which machine this is, and how fast its matrix products are."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from clasp_mm.utils.device import pick_device, set_matmul_precision
from clasp_mm.version import __version__

from ..contest import Options
from ..stages import Report
from ..step import matmul_rate

_DRIVER = Path('/proc/driver/nvidia/version')  # its first line names it


def machine(report: Report) -> None:
    """Device, driver, versions, and FLOP per second in each precision."""
    device = pick_device()
    values = dict(device=device.type, cpu_cores=os.cpu_count(), python=platform.python_version(),
                  torch=torch.__version__, clasp_mm=__version__)
    if device.type == 'cuda':
        found = torch.cuda.get_device_properties(device)
        driver = _DRIVER.read_text('utf-8').splitlines()[0] if _DRIVER.exists() else 'unknown'
        values.update(device=found.name, memory_gib=found.total_memory / 2**30,
                      capability=f'{found.major}.{found.minor}', driver=driver,
                      cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version())
    report.row('machine', **values)
    for precision, (matmul, amp) in precisions(device).items():
        set_matmul_precision(matmul)
        rate = matmul_rate(Options(str(device), amp=amp, quick=report.smoke))
        report.row('large matrix product', precision=precision, tflops=rate / 1e12)


def precisions(device: torch.device) -> dict[str, tuple[str, bool]]:
    """Name -> how float32 matrices are multiplied, and whether networks compute in bfloat16."""
    found = dict(float32=('highest', False), TF32=('high', False), bfloat16=('high', True))
    if device.type == 'cpu':  # which has no TF32
        del found['TF32']
    return found

"""The quirks of torch and of the host libraries: each is mended in memory, where it is met."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from mmengine.config import Config


def torch_at_least(major: int, minor: int) -> bool:
    """Whether the running torch is at least ``major.minor``."""
    return tuple(int(part) for part in torch.__version__.split('.')[:2]) >= (major, minor)


def prepare_cpu_distributed(cfg: Config) -> None:
    """Let a Runner with ``launcher='pytorch'`` train on machines without a GPU, over gloo.

    mmengine 0.10.7 calls ``torch.cuda.set_device`` before it joins the process group and gives
    ``DistributedDataParallel`` a GPU id; both fail on the CPU. The group is joined here and the
    wrapper is told to use no device id. With a GPU, or without a launcher, nothing changes.

    Raises:
        RuntimeError: The launcher is slurm's or MPI's, which mmengine starts on GPUs only.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none' or torch.cuda.is_available():
        return
    if launcher != 'pytorch':
        raise RuntimeError(
            f'launcher {launcher!r} needs a GPU in every process, and this machine shows none; '
            'on CPUs start with tools/dist_train.sh (launcher "pytorch")')
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
    wrapper = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False))
    cfg.model_wrapper_cfg = {**wrapper, **(cfg.get('model_wrapper_cfg') or {}), 'device_ids': None}


def mend_draw_circles() -> None:
    """Let mmpose's OpenCV visualizer draw keypoints under numpy 2.4 and later.

    mmpose 1.3.2 passes the radius as an array of one element and takes ``int()`` of it, which
    numpy then refuses. The number is taken out of the array before.
    """
    from mmpose.visualization.opencv_backend_visualizer import OpencvBackendVisualizer
    draw = OpencvBackendVisualizer.draw_circles

    @functools.wraps(draw)
    def draw_circles(self: Any, center: Any, radius: Any, *args: Any, **kwargs: Any) -> Any:
        if self.backend == 'opencv':
            radius = np.asarray(radius).item()
        return draw(self, center, radius, *args, **kwargs)

    OpencvBackendVisualizer.draw_circles = draw_circles

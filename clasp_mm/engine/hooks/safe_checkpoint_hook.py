"""Checkpoints that are whole or not there."""

import math
from typing import Any

from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from clasp_mm.registry import HOOKS
from clasp_mm.utils.files import replacing


class _WholeFiles(LocalBackend):
    """Local files, written under another name first."""

    def put(self, obj: bytes, filepath: str) -> None:
        with replacing(filepath) as partial:
            partial.write_bytes(obj)


register_backend('clasp_mm.whole_files', _WholeFiles, force=True)


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``; a kill or a full disk leaves no half checkpoint.

    An epoch whose ``save_best`` score is NaN is not the best, and the log says so.

    Args:
        **kwargs: See MMEngine's class; at least two checkpoints are kept, as the oldest goes
            before the newest is written.

    Raises:
        ValueError: ``max_keep_ckpts=1``.
    """

    def __init__(self, **kwargs: Any) -> None:
        if kwargs.get('max_keep_ckpts') == 1:
            raise ValueError('max_keep_ckpts=1 removes the only checkpoint before the next one is '
                             'written; keep at least 2, or -1 for all')
        super().__init__(backend_args=dict(backend='clasp_mm.whole_files'), **kwargs)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        for name in self.key_indicators if self.save_best else ():
            if isinstance(metrics.get(name), float) and math.isnan(metrics[name]):
                runner.logger.warning(f'{name} is NaN, so this is no best checkpoint: the '
                                      'validation set holds nothing to score, or the model gave '
                                      'NaN')
        super().after_val_epoch(runner, metrics)

"""The self-correction cycles of human parsing."""

from typing import Any

import torch
from mmengine.dist import all_reduce_params
from mmengine.hooks import EMAHook
from mmengine.runner import Runner
from torch import nn
from torch.optim.swa_utils import update_bn

from clasp_mm.registry import HOOKS


@HOOKS.register_module()
class SelfCorrectionHook(EMAHook):
    """Averages the model over cycles and lets the average correct the labels (Li et al. 2020).

    At the end of epoch ``start`` the averaged model is a copy; after each further cycle m = 1, 2,
    ... it is ``m / (m + 1)`` of itself and ``1 / (m + 1)`` of the model. Then its
    batch norms are estimated anew over the training set, and the model trains on labels fused with
    its predictions. As published it predicts in training mode: batch norms take the batch's
    statistics and keep those estimated, dropout is on. From ``start`` on it is what is validated
    (in evaluation mode) and what a checkpoint's ``state_dict`` holds; the model being trained lies
    beside it (MMEngine's ``EMAHook`` keeps both). The cycles' learning rate is a
    ``CosineRestartLR`` in the config.

    Args:
        start: Epochs before the first copy.
        interval: Epochs of a cycle.

    Raises:
        ValueError: ``start`` or ``interval`` is below 1, or training ends before ``start``.
        TypeError: The model cannot have its labels corrected.
    """

    def __init__(self, start: int, interval: int) -> None:
        if start < 1 or interval < 1:
            raise ValueError(f'start={start} and interval={interval} must be 1 epoch at least')
        super().__init__('mmengine.StochasticWeightAverage', strict_load=True,
                         update_buffers=True)
        self.start = start
        self.interval = interval

    @property
    def cycle(self) -> int:
        """How many models the averaged one holds; 0 before the start."""
        return int(self.ema_model.steps)

    def before_train(self, runner: Runner) -> None:
        """Check the settings, and go on where a resumed run was."""
        if self.start > runner.max_epochs:
            raise ValueError(f'SelfCorrectionHook.start={self.start} lies after the last epoch, '
                             f'{runner.max_epochs}')
        if not hasattr(self.src_model, 'correct_labels'):
            raise TypeError('clasp_mm.SelfCorrectionHook drives clasp_mm.SelfCorrectingParser, '
                            f'the model is {type(self.src_model).__name__}')
        for module in _norms(self.ema_model):
            module.momentum = 0.
        self._correct_labels()

    def after_train_iter(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the average moves once a cycle."""

    def after_train_epoch(self, runner: Runner) -> None:
        done = runner.epoch + 1 - self.start
        if done < 0 or done % self.interval:
            return
        self.ema_model.update_parameters(self.src_model)
        runner.logger.info(f'self-correction: {self.cycle} models averaged, re-estimating the '
                           f'batch norms over {len(runner.train_dataloader)} batches')
        if hasattr(runner.train_dataloader.sampler, 'start'):  # of an epoch entered in its middle
            runner.train_dataloader.sampler.start = 0
        self._estimate_norms(runner)
        self._correct_labels()

    def before_val_epoch(self, runner: Runner) -> None:
        if self.cycle:
            super().before_val_epoch(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if self.cycle:
            super().after_val_epoch(runner, metrics)

    def before_test_epoch(self, runner: Runner) -> None:
        """Nothing: a checkpoint's weights are the averaged ones already."""

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Nothing, as before it."""

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if self.cycle:
            super().before_save_checkpoint(runner, checkpoint)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if runner._resume and 'ema_state_dict' in checkpoint:
            super().after_load_checkpoint(runner, checkpoint)

    def _correct_labels(self) -> None:
        self.ema_model.train()
        if self.cycle:
            self.src_model.correct_labels(self.ema_model.module, self.cycle)

    @torch.no_grad()
    def _estimate_norms(self, runner: Runner) -> None:
        """Means of the batches' statistics over the training set, the same in all processes."""
        averaged = self.ema_model.module
        update_bn((averaged.data_preprocessor(batch, True)['inputs']
                   for batch in runner.train_dataloader), averaged)
        all_reduce_params([statistic for module in _norms(averaged)
                           for statistic in (module.running_mean, module.running_var)], op='mean')


def _norms(model: nn.Module) -> list[nn.Module]:
    kinds = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm
    return [module for module in model.modules() if isinstance(module, kinds)]

"""Tells when the pseudo-labels teach nothing."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from clasp_mm.registry import HOOKS


@HOOKS.register_module()
class AcceptedLabelsHook(Hook):
    """Warns after an epoch in which no image had labels; training goes on by the DINO loss."""

    def before_train_epoch(self, runner: Runner) -> None:
        """Start to count."""
        self.iterations, self.accepted = 0, 0.0

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        """Add this iteration's share of images with labels, over all processes."""
        if outputs and 'accepted' in outputs:
            self.iterations += 1
            self.accepted += outputs['accepted']

    def after_train_epoch(self, runner: Runner) -> None:
        """Warn if it was none."""
        if self.iterations and self.accepted == 0:
            runner.logger.warning(
                f'no image of epoch {runner.epoch + 1} had accepted labels: the part and attribute '
                'losses taught nothing. Look at the label report '
                '(tools/analysis/pseudo_label_report.py), lower min_foreground and '
                'min_person_cosine of the labels, or check that the images show people')

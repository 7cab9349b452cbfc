"""What a run on attributes needs beside model and data."""

from typing import Any

import torch
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner

from clasp_mm.datasets.attribute import positive_ratios
from clasp_mm.evaluation import AttributeMetric
from clasp_mm.models import AttributeHead
from clasp_mm.registry import HOOKS

from .algorithm_hook import unwrapped_model


@HOOKS.register_module()
class AttributeHook(Hook):
    """Positive ratios from the training set, and a test split that selects nothing.

    * Before training, ``clasp_mm.AttributeHead`` gets the positive ratios of the training set.
    * Validation decides on the learning rate and on the best checkpoint. It must not be on images
      that are trained on, nor, unless ``select_on_test``, on the test split. The literature picks
      the best epoch on test; a checkpoint made so says so, and so does each of its results
      (``attribute/selected_on_test``).
    * MMEngine saves an epoch's checkpoint before it validates, and again if it was the best. A run
      that is resumed from one that was not validated does so first, so that schedule and best
      score are those of the run in one go.

    Args:
        select_on_test: Let the test split validate.
    """

    def __init__(self, select_on_test: bool = False) -> None:
        self.select_on_test = select_on_test
        self.loaded_selected_on_test = False
        self.validated = 0  # epochs done when the last validation was

    def before_train(self, runner: Runner) -> None:
        """Fill in the ratios, check the splits.

        Raises:
            TypeError: The model has no ``clasp_mm.AttributeHead``.
            ValueError: Head and data have different numbers of attributes, or see above.
        """
        data, head = runner.train_dataloader.dataset, _head(runner)
        _check_count(head, data, 'train_dataloader')
        head.positive_ratios.copy_(torch.from_numpy(positive_ratios(data)))
        if runner.val_loop is None:
            return
        _check_selection(data, runner.val_loop.dataloader.dataset, self.select_on_test)
        _mark(runner.val_loop.evaluator, self.select_on_test)

    def before_train_epoch(self, runner: Runner) -> None:
        """Validate what a run was resumed from, if it was not."""
        loop = runner.train_loop
        epoch_done = runner.iter == runner.epoch * len(runner.train_dataloader)
        due = epoch_done and runner.epoch >= loop.val_begin and (
            runner.epoch % loop.val_interval == 0 or runner.epoch == runner.max_epochs)
        if runner.val_loop is not None and due and self.validated < runner.epoch:
            runner.val_loop.run()

    def after_train(self, runner: Runner) -> None:
        """Validate the last epoch, if the run was resumed behind it."""
        self.before_train_epoch(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self.validated = runner.epoch

    def before_val(self, runner: Runner) -> None:
        _check_count(_head(runner), runner.val_loop.dataloader.dataset, 'val_dataloader')

    def before_test(self, runner: Runner) -> None:
        """Check the number of attributes; tell the metric how the checkpoint was chosen."""
        _check_count(_head(runner), runner.test_loop.dataloader.dataset, 'test_dataloader')
        _mark(runner.test_loop.evaluator, self.loaded_selected_on_test or self.select_on_test)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Write how checkpoints are chosen, and which epoch was validated."""
        checkpoint['meta'].update(
            selected_on_test=self.select_on_test, validated=self.validated)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        meta = checkpoint.get('meta', {})
        self.loaded_selected_on_test = meta.get('selected_on_test', False)
        self.validated = meta.get('validated', 0) if runner._resume else 0


def _head(runner: Runner) -> AttributeHead:
    model = unwrapped_model(runner)
    head = getattr(model, 'head', None)
    if not isinstance(head, AttributeHead):
        raise TypeError(f'clasp_mm.AttributeHook needs a clasp_mm.AttributeHead as model.head, got '
                        f'{type(head).__name__}')
    return head


def _check_count(head: AttributeHead, data: Any, loader: str) -> None:
    count = len(data.metainfo['classes'])
    if count != head.num_attributes:
        raise ValueError(
            f'{loader}: the data have {count} attributes, the head {head.num_attributes}: set '
            f'model.head.num_attributes={count}, or take the data that the weights were made for')


def _check_selection(train: Any, val: Any, select_on_test: bool) -> None:
    if 'test' in _splits(val) and not select_on_test:
        raise ValueError(
            "val_dataloader reads the split 'test', so learning rate and best checkpoint would be "
            "chosen on test: take split='val', or, for the habit of the literature, say "
            "select_on_test=True in clasp_mm.AttributeHook; the result will tell")
    shared = _images(train) & _images(val)
    if shared:
        raise ValueError(
            f'{len(shared)} images are both trained on and validated on, such as {min(shared)}: '
            f'train_dataloader reads {_splits(train)}, val_dataloader {_splits(val)}')


def _splits(data: Any) -> list[str]:
    return [getattr(one, 'split', 'unnamed') for one in getattr(data, 'datasets', [data])]


def _images(data: Any) -> set[str]:
    return {data.get_data_info(index)['img_path'] for index in range(len(data))}


def _mark(evaluator: Evaluator, selected_on_test: bool) -> None:
    for metric in evaluator.metrics:
        if isinstance(metric, AttributeMetric):
            metric.selected_on_test = selected_on_test

"""Logs the conflict of the pretext tasks during pretraining."""

import math
from typing import Any

import torch
from mmengine.runner import Runner

from clasp_mm.evaluation.functional import expert_activation_divergence, gradient_conflict_ratio
from clasp_mm.evaluation.task_conflict import expert_use, task_gradients
from clasp_mm.registry import HOOKS

from .algorithm_hook import AlgorithmHook


@HOOKS.register_module()
class TaskConflictHook(AlgorithmHook):
    """Logs ``conflict/gcr`` and ``conflict/ead`` of the student (CLASP eq. 15 to 17).

    Every ``interval`` steps the student sees a few images of the batch once more, forward, and
    backward once for each task. No random number is drawn and nothing of the model is changed, so
    training is the same with and without this hook. A value that is not defined, as the GCR of
    DINO with its one loss, is not logged.

    Args:
        interval: Optimizer iterations between two looks.
        num_images: Images of each process.
    """

    priority = 'BELOW_NORMAL'

    def __init__(self, interval: int = 100, num_images: int = 32) -> None:
        if interval < 1 or num_images < 1:
            raise ValueError('TaskConflictHook needs interval >= 1 and num_images >= 1, got '
                             f'interval={interval} and num_images={num_images}')
        self.interval = interval
        self.num_images = num_images

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        if not self.every_n_train_iters(runner, self.interval):
            return
        scalars = conflict_scalars(
            self.model, *first_images(self.model, data_batch, self.num_images))
        runner.message_hub.update_scalars(scalars)
        if scalars:
            runner.visualizer.add_scalars(scalars, step=runner.iter + 1)


def conflict_scalars(model: torch.nn.Module, views: list[torch.Tensor],
                     samples: dict[str, Any]) -> dict[str, float]:
    """``conflict/gcr`` and ``conflict/ead`` on preprocessed views, as far as they are defined."""
    scalars = {'conflict/gcr': gradient_conflict_ratio(task_gradients(model, views, samples))}
    use = expert_use(model.backbone, views[0])
    if use is not None:
        scalars['conflict/ead'] = expert_activation_divergence(use)
    return {name: value for name, value in scalars.items() if not math.isnan(value)}


def first_images(model: torch.nn.Module, data_batch: dict[str, Any],
                 number: int) -> tuple[list[torch.Tensor], dict[str, Any]]:
    """Preprocessed views and samples of the first ``number`` images of a collated batch."""
    samples = {key: value[:number] for key, value in data_batch['data_samples'].items()}
    batch = model.data_preprocessor(dict(
        inputs=[view[:number] for view in data_batch['inputs']], data_samples=samples))
    return batch['inputs'], batch['data_samples']

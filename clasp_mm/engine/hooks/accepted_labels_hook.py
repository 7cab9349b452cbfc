"""Tells when the pseudo-labels teach nothing, or what the model has no class for."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from clasp_mm.registry import HOOKS

from .algorithm_hook import unwrapped_model
from .finite_hook import image_names


@HOOKS.register_module()
class AcceptedLabelsHook(Hook):
    """Warns after an epoch in which no image had labels; training goes on by the DINO loss.

    A label that the model's heads have no class for is a ValueError that names image and label.
    """

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Hold the labels against the heads, while they are on the CPU."""
        model = unwrapped_model(runner)
        samples, wrong = data_batch['data_samples'], {}
        if getattr(model, 'part_head', None) is not None and 'part_map' in samples:
            parts, count = samples['part_map'].long(), model.part_head.num_classes
            wrong[f'part label {{}} is not 255 and none of the {count} classes of model.part_head'
                  ] = parts, (parts != 255) & ((parts < 0) | (parts >= count))
        if getattr(model, 'attr_head', None) is not None and 'attr_target' in samples:
            values, sizes = samples['attr_target'], model.attr_head.attribute_sizes
            if values.shape[1] == len(sizes):  # else the loss says so
                wrong[f'attribute label {{}} is not -1 and no value, of which model.attr_head has '
                      f'{sizes}'] = values, (values < -1) | (values >= torch.tensor(sizes))
        for said, (labels, out) in wrong.items():
            if out.any():
                row = int(out.flatten(1).any(1).nonzero()[0])
                index, name = image_names(runner, data_batch)[row]
                raise ValueError(f'image {index} ({name}): {said.format(int(labels[out][0]))}; the '
                                 'head and the vocabulary of the labels must be of one kind')

    def before_train_epoch(self, runner: Runner) -> None:
        self.iterations, self.accepted = 0, 0.0

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        if outputs and 'accepted' in outputs:
            self.iterations += 1
            self.accepted += outputs['accepted']

    def after_train_epoch(self, runner: Runner) -> None:
        if self.iterations and self.accepted == 0:
            runner.logger.warning(
                f'no image of epoch {runner.epoch + 1} had accepted labels: the part and attribute '
                'losses taught nothing. Look at the label report '
                '(clasp label report), lower min_foreground and '
                'min_person_cosine of the labels, or check that the images show people')

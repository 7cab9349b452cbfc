"""A fine-tuned model of any task, from its config and checkpoint."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from clasp_mm.models.weights.coverage import load_weights
from clasp_mm.utils.device import pick_device
from clasp_mm.zoo.config import open_config

Built = tuple[nn.Module, Sequence[Mapping[str, Any]], Mapping[str, Any]]
"""A model in evaluation, without the checkpoint's weights, the transforms that an image which is
loaded goes through, and the meta data of a checkpoint that holds none."""


def loader(scope: str, build: Callable[[Config, torch.device], Built]
           ) -> Callable[..., nn.Module]:
    """The ``load`` of a task, from its host's scope and its function of a config and a device."""

    def load(config: str | Path | Config, checkpoint: str | Path,
             device: str | torch.device | None = None) -> nn.Module:
        """Build a fine-tuned model of the task, ready for its ``predict``.

        Args:
            config: Its config, or that read.
            checkpoint: A checkpoint of its training.
            device: Where it runs; by default on the GPU where there is one.

        Raises:
            FileNotFoundError: There is no such config or checkpoint.
            ValueError: The config is of another task, or the weights do not fit its model.
        """
        from mmengine.dataset import Compose
        from mmengine.registry import DefaultScope
        model, steps, dataset_meta = build(open_config(config), pick_device(device))
        saved = load_weights(model, checkpoint)
        model.dataset_meta = dict(dataset_meta) | {
            key: value for key, value in (saved.get('dataset_meta') or {}).items()
            if value is not None}
        model.verification = saved.get('verification')  # of re-identification
        with DefaultScope.overwrite_default_scope(scope):
            model.pipeline = Compose(steps)
        return model

    return load

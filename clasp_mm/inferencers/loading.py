"""A fine-tuned model of any task, from its config and checkpoint."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from clasp_mm.models.weights.coverage import load_weights
from clasp_mm.models.weights.find import find_weights
from clasp_mm.utils.device import pick_device
from clasp_mm.utils.resources import config_file
from clasp_mm.zoo.config import buildable, entry_config, open_config, read_zoo_config
from clasp_mm.zoo.get_model import entry_weights
from clasp_mm.zoo.index import model_with_weights, near_models, read_zoo
from clasp_mm.zoo.publish import find_config

Built = tuple[nn.Module, Sequence[Mapping[str, Any]], Mapping[str, Any]]
"""A model in evaluation, without the checkpoint's weights, the transforms that an image which is
loaded goes through, and the meta data of a checkpoint that holds none."""


def loader(scope: str, build: Callable[[Config, torch.device], Built]
           ) -> Callable[..., nn.Module]:
    """The ``load`` of a task, from its host's scope and its function of a config and a device."""

    def load(config: str | os.PathLike | Config, checkpoint: str | os.PathLike,
             device: str | torch.device | None = None) -> nn.Module:
        """Build a fine-tuned model of the task, ready for its ``predict``.

        Args:
            config: Its config, or that read, or its name in the zoo.
            checkpoint: A checkpoint of its training, or published, or its name in the zoo.
            device: Where it runs; by default on the GPU where there is one.

        Raises:
            FileNotFoundError: There is no such config or checkpoint.
            ValueError: The config is of another task, the zoo has no such name, or the weights do
                not fit the model.
        """
        from mmengine.dataset import Compose
        from mmengine.registry import DefaultScope
        model, steps, dataset_meta = build(read_config(config), pick_device(device))
        saved = load_weights(model, find_weights(checkpoint))
        model.dataset_meta = dict(dataset_meta) | {
            key: value for key, value in (saved.get('dataset_meta') or {}).items()
            if value is not None}
        model.verification = saved.get('verification')  # of re-identification
        with DefaultScope.overwrite_default_scope(scope):
            model.pipeline = Compose(steps)
        return model

    return load


def read_config(config: str | os.PathLike | Config) -> Config:
    """A config that is read already, of a path, or of a name in the zoo.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The zoo has no such name.
    """
    if isinstance(config, Config) or Path(config).suffix == '.py':
        return open_config(config)
    return entry_config(_zoo_entry(config))


def find_model(task: str, config: str | os.PathLike | None, checkpoint: str | os.PathLike | None
               ) -> tuple[Config, Path]:
    """Config and path of the checkpoint of a model, each a path, a name in the zoo, or None.

    Args:
        task: A value of :data:`~clasp_mm.zoo.index.TASKS`, whose model in the zoo is taken where
            both are None.
        config: By default the one beside the checkpoint: of its name, or a run's only one.
        checkpoint: By default the weights of the zoo's model.

    Raises:
        FileNotFoundError: There is no such file, or no single config beside the checkpoint.
        ValueError: The zoo has no such name, or a config of one's own has no checkpoint.
    """
    if config is None and checkpoint is not None:
        checkpoint = find_weights(checkpoint)
        config = checkpoint.with_suffix('.py')
        if not config.is_file():
            config = find_config(checkpoint)
        return buildable(read_zoo_config(config)), checkpoint
    if config is None:
        config = model_with_weights(task)
    if Path(config).suffix != '.py':
        entry = _zoo_entry(config)
        return entry_config(entry), find_weights(checkpoint or entry_weights(entry))
    if checkpoint is None:
        raise ValueError(f'{config} comes without weights: give checkpoint=')
    config = config_file(config)
    if not config.is_file():
        raise FileNotFoundError(f'no config at {config}')
    return Config.fromfile(config), find_weights(checkpoint)


def _zoo_entry(name: str | os.PathLike) -> dict[str, Any]:
    entries = read_zoo()
    if str(name) not in entries:
        raise ValueError(f'no model {str(name)!r} in the zoo{near_models(str(name), entries)}; or '
                         'give the path of a config, *.py')
    return entries[str(name)]

"""Optimizer groups without the frozen parameters, as few as there are settings."""

from collections.abc import Hashable

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from clasp_mm.compat import torch_at_least
from clasp_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS

_FUSED = ('Adam', 'AdamW', 'SGD')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TrainableOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's default constructor, with few groups and without the frozen parameters.

    The default one gives every parameter a group of its own, and those of the teacher a warning.
    Here parameters of equal settings share a group. Adam, AdamW and SGD are torch's fused ones,
    unless the config says ``fused`` or ``foreach`` (from torch 2.4 on, on the CPU and on GPUs). So
    a step is a few launches, not ten for every parameter.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer and its wrapper."""
        # MMEngine passes over add_params where there are none.
        self.paramwise_cfg = self.paramwise_cfg or dict(bypass_duplicate=False)
        settings = self.optimizer_cfg
        if settings['type'] in _FUSED and not {'fused', 'foreach'} & set(settings) and (
                torch_at_least(2, 4)
                and all(p.device.type in ('cpu', 'cuda') for p in model.parameters())):
            self.optimizer_cfg = dict(settings, fused=True)
        return super().__call__(model)

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '',
                   is_dcn_module: int | float | None = None) -> None:
        """Add the trainable parameters of ``module``, recursively; group those of the model."""
        if any(parameter.requires_grad for parameter in module.parameters()):
            super().add_params(params, module, prefix, is_dcn_module)
        if not prefix:
            params[:] = self.group(params, module)

    def group(self, params: list[dict], model: nn.Module) -> list[dict]:
        """Merge groups of one parameter each, in the order of the model."""
        return list(merge_groups(params).values())


def settings_key(settings: dict) -> Hashable:
    """Equal for groups of equal settings."""
    return tuple(sorted((name, repr(value)) for name, value in settings.items()
                        if name != 'params'))


def merge_groups(groups: list[dict], keys: list[Hashable] | None = None) -> dict[Hashable, dict]:
    """Key -> one group for all of that key, in the order in which the keys come.

    There is a key for each group; by default that of its settings.
    """
    merged: dict[Hashable, dict] = {}
    for key, group in zip(keys or map(settings_key, groups), groups, strict=True):
        merged.setdefault(key, dict(group, params=[]))['params'] += group['params']
    return merged

"""Optimizer groups without the frozen parameters."""

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from clasp_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TrainableOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's default constructor that passes over modules without a trainable parameter.

    The default one gives every parameter of the teacher a group of its own and a warning.
    """

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '',
                   is_dcn_module: int | float | None = None) -> None:
        """Add the trainable parameters of ``module``, recursively."""
        if any(parameter.requires_grad for parameter in module.parameters()):
            super().add_params(params, module, prefix, is_dcn_module)

"""The load-balance loss of the PC-MoE gates, added to the losses of any model."""

from collections.abc import Callable
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from clasp_mm.models.layers.pc_moe import Gates, PCMoE
from clasp_mm.models.losses import GlobalLoss, average_together, load_balance_term
from clasp_mm.registry import HOOKS

from .algorithm_hook import unwrapped_model


@HOOKS.register_module()
class LoadBalanceHook(Hook):
    """Adds ``loss_balance`` to what a host's model returns with ``mode='loss'``.

    The hosts expect a tuple of maps from a backbone and have no way for a loss out of it. The gates
    are results of the PC-MoE modules; torch's forward hooks see them while the model runs, and
    one on the model adds the loss to its dict. So it is logged, scaled, accumulated and averaged
    over processes as every other loss, and the model, its weights' names and its inference stay
    as they are.

    Args:
        weight: Factor alpha of the loss (CLASP eq. 13: 0.01).
    """

    def __init__(self, weight: float = 0.01) -> None:
        self.weight = weight

    def before_train(self, runner: Runner) -> None:
        """Watch the model, or raise a ValueError if it has no PC-MoE with a trainable gate."""
        self._handles = add_load_balance_loss(unwrapped_model(runner), self.weight)

    def after_train(self, runner: Runner) -> None:
        for handle in self._handles:
            handle.remove()


def add_load_balance_loss(model: nn.Module, weight: float) -> list[Any]:
    """Let ``model`` add the loss to any dict it returns; gives the handles that undo it."""
    modules = [module for module in model.modules() if isinstance(module, PCMoE)
               and module.global_gate is not None and module.global_gate.weight.requires_grad]
    if not modules:
        raise ValueError(f'{type(model).__name__} has no PC-MoE with a trainable gate to balance; '
                         'leave clasp_mm.LoadBalanceHook out')
    seen: list[list[Gates]] = [[] for _ in modules]
    running = False

    def start(*_: Any) -> None:
        nonlocal running
        running = True
        for stage in seen:
            stage.clear()

    def see(stage: list[Gates]) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, output: tuple[torch.Tensor, Gates]) -> None:
            if running and torch.is_grad_enabled():  # else recomputed in the backward pass
                stage.append(output[1])
        return hook

    def finish(_: nn.Module, __: Any, output: Any) -> Any:
        nonlocal running
        running = False
        gates = [stage for stage in seen if stage]
        if isinstance(output, dict) and gates:
            terms = average_together(*map(_stage_term, gates))
            output = {**output, 'loss_balance': weight * torch.stack(terms).mean()}
        for stage in seen:
            stage.clear()
        return output

    return [model.register_forward_pre_hook(start), model.register_forward_hook(finish),
            *(module.register_forward_hook(see(stage))
              for module, stage in zip(modules, seen, strict=True))]


def _stage_term(passes: list[Gates]) -> GlobalLoss[torch.Tensor]:
    """Of one stage, whose rows may be images or, in a head, regions."""
    probs, chosen = (torch.cat([getattr(gates, name) for gates in passes])[None]
                     for name in ('probs', 'gates'))
    task = torch.zeros(probs.shape[1], dtype=torch.long, device=probs.device)
    return load_balance_term(probs, chosen, task, 1)

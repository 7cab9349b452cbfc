"""Conflict of the pretext tasks of a model, measured on a batch."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn

from clasp_mm.models.layers import TASKS

LOSS_OF_TASK = {'appearance': 'loss_dino', 'part': 'loss_part', 'attribute': 'loss_attr'}


def shared_layers(backbone: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Trainable parameters of each module that owns some; prompts, owned by a task, left out."""
    layers = {}
    for name, module in backbone.named_modules():
        own = [parameter for key, parameter in module.named_parameters(recurse=False)
               if parameter.requires_grad and key != 'prompts']
        if own:
            layers[name] = own
    return layers


def task_gradients(model: nn.Module, views: list[Tensor],
                   samples: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Gradient of each pretext loss in each shared layer of the student's backbone.

    The model is in evaluation mode meanwhile, so that no random number is drawn, and is left as it
    was: its mode, its centre and the ``.grad`` of its parameters. Averaged over all processes.

    Args:
        model: ``clasp_mm.DINO``, ``clasp_mm.SOLIDER`` or ``clasp_mm.CLASP``.
        views: Preprocessed views, globals first, each (B, 3, H_v, W_v).
        samples: What the model's ``loss`` wants.

    Returns:
        Task -> layer -> flat gradient, 0 where the loss does not reach; only tasks that the model
        has a loss for.
    """
    layers = shared_layers(model.backbone)
    parameters = [parameter for own in layers.values() for parameter in own]
    modes = {module: module.training for module in model.modules()}
    buffers = {name: buffer.clone() for name, buffer in model.dino_loss.named_buffers()}
    model.eval()
    try:
        with torch.enable_grad():
            losses = model.loss(views, samples)
            present = {task: losses[key] for task, key in LOSS_OF_TASK.items() if key in losses}
            gradients = {task: torch.autograd.grad(loss, parameters, retain_graph=True,
                                                   allow_unused=True)
                         for task, loss in present.items()}
    finally:
        for module, mode in modes.items():
            module.training = mode
        for name, buffer in model.dino_loss.named_buffers():
            buffer.copy_(buffers[name])
    sizes = [sum(parameter.numel() for parameter in own) for own in layers.values()]
    found = {}
    for task, parts in gradients.items():
        flat = torch.cat([(torch.zeros_like(parameter) if part is None else part).flatten()
                          for part, parameter in zip(parts, parameters, strict=True)])
        all_reduce(flat, 'mean')
        found[task] = dict(zip(layers, flat.split(sizes), strict=True))
    return found


@torch.no_grad()
def expert_use(backbone: nn.Module, images: Tensor) -> Tensor | None:
    """Mean gate of every expert under each task on images (B, 3, H, W), over all processes.

    The backbone is in evaluation mode meanwhile.

    Returns:
        (T, S, n), or None where there is no PC-MoE.
    """
    if not backbone.has_moe:
        return None
    modes = {module: module.training for module in backbone.modules()}
    backbone.eval()
    try:
        embedded = backbone.embed(images)
        use = torch.stack([
            torch.stack([gates.gates.mean(0) for gates in backbone.from_embed(embedded, task)[1]])
            for task in TASKS])
    finally:
        for module, mode in modes.items():
            module.training = mode
    all_reduce(use, 'mean')
    return use

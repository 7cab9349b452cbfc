"""Muon (K. Jordan, 2024) beside AdamW: fewer steps for a short training."""

import math

import torch
from torch import Tensor

from .objectives import Objective


class Optimizers:
    """Muon for the image tower's inner weights, AdamW for most else, on one schedule.

    Of the 49408 token embeddings the texts use a few hundred, so theirs is SparseAdam. The rates
    rise over the first tenth and fall to zero along half a cosine.
    """

    def __init__(self, objective: Objective, steps: int, muon_lr: float = .02,
                 adamw_lr: float = 3e-3) -> None:
        from timm.optim import Muon
        inner, plain, decayed = [], [], []
        token_embedding = objective.model.token_embedding
        token_embedding.sparse = True
        for name, parameter in objective.named_parameters():
            if not parameter.requires_grad or parameter is token_embedding.weight:
                continue
            if parameter.ndim < 2 or 'embedding' in name:
                plain.append(parameter)
            elif name.startswith('model.visual.') and not name.startswith(
                    ('model.visual.conv1', 'model.visual.attnpool')):
                inner.append(parameter)
            else:
                decayed.append(parameter)
        self.optimizers = (
            Muon(inner, muon_lr, weight_decay=.05, momentum=.9, nesterov=True,
                 ns_coefficients='original', adjust_lr_fn='original'),
            torch.optim.AdamW([dict(params=decayed, weight_decay=.05),
                               dict(params=plain, weight_decay=0.)], adamw_lr, betas=(.9, .98)),
            torch.optim.SparseAdam([token_embedding.weight], adamw_lr))
        warm_up = max(1, steps // 10)
        self.schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (
            (step + 1) / warm_up if step < warm_up else
            .5 + .5 * math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up))))
            for optimizer in self.optimizers]

    def step(self, loss: Tensor) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer, schedule in zip(self.optimizers, self.schedules, strict=True):
            optimizer.step()
            schedule.step()

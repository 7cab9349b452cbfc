"""Muon, steepest descent in the spectral norm, beside AdamW: fewer steps for a short training."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .objectives import Objective

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


def orthogonalize(matrix: Tensor) -> Tensor:
    """Bring all singular values of a matrix near one (about 0.7 to 1.2), keeping its directions.

    A quintic Newton-Schulz iteration with the coefficients of K. Jordan's Muon (2024).

    Args:
        matrix: (M, N).

    Returns:
        (M, N); zeros for a zero matrix.
    """
    a, b, c = _COEFFICIENTS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose steps are orthogonalised; for weights with two or more dimensions.

    Args:
        params: Weights (out, ...); a convolution's is taken as the matrix (out, in * h * w).
        lr: Length of a step.
        momentum: Of the gradients.
        weight_decay: Decoupled, times ``lr``.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = .9,
                 weight_decay: float = 0.) -> None:
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for parameter in group['params']:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state['momentum'] = torch.zeros_like(parameter)
                momentum = state['momentum'].mul_(group['momentum']).add_(parameter.grad)
                update = parameter.grad.add(momentum, alpha=group['momentum']).flatten(1)
                tall = max(1., update.shape[0] / update.shape[1]) ** .5
                parameter.mul_(1 - group['lr'] * group['weight_decay'])
                parameter.add_(orthogonalize(update).view_as(parameter), alpha=-group['lr'] * tall)


class Optimizers:
    """Muon for the image tower's inner weights, AdamW for most else, on one schedule.

    Of the 49408 token embeddings the texts use a few hundred, so theirs is SparseAdam. The rates
    rise over the first tenth and fall to zero along half a cosine.
    """

    def __init__(self, objective: Objective, steps: int, muon_lr: float = .02,
                 adamw_lr: float = 3e-3) -> None:
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
            Muon(inner, muon_lr, weight_decay=.05),
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

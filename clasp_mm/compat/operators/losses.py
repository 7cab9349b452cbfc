"""Focal losses (Lin et al. 2017) and their gradients.

Arguments have the names and places that the Python side of mmcv 2.1 gives them; results go into
the tensors that it hands over. Everything is computed in float32 at least.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def sigmoid_focal_loss_forward(input: Tensor, target: Tensor, weight: Tensor, output: Tensor,
                               gamma: float, alpha: float) -> None:
    """-alpha (1 - p)^gamma log p where the class is the target, else the same of 1 - alpha, 1 - p.

    The logarithms are taken of the logits, as mmdet takes them on the CPU: they hold where p
    rounds to 0 or 1.

    Args:
        input: (n, c): logits; p is their sigmoid.
        target: (n,): classes; c: none of them.
        weight: (c,): factors by the target, 1 without one; empty: none.
        output: (n, c), to be filled.
        gamma: How fast sure answers fade.
        alpha: Weight of the targets.
    """
    hit, signed = _signed(input, target)
    share = alpha * hit + (1 - alpha) * (1 - hit)
    loss = -share * (-signed).sigmoid() ** gamma * F.logsigmoid(signed)
    output.copy_(loss * _factors(weight, target)[:, None])


def sigmoid_focal_loss_backward(input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor,
                                gamma: float, alpha: float) -> None:
    """Fill the gradient of the sum of :func:`sigmoid_focal_loss_forward`.

    With r the probability of the right answer, d/dr of -(1 - r)^gamma log r times dr/dx =
    +-r (1 - r) is +-(1 - r)^gamma (gamma r log r - (1 - r)): + where the class is the target.
    """
    hit, signed = _signed(input, target)
    wrong = (-signed).sigmoid()
    slope = wrong ** gamma * (gamma * signed.sigmoid() * F.logsigmoid(signed) - wrong)
    share = alpha * hit - (1 - alpha) * (1 - hit)
    grad_input.copy_(share * slope * _factors(weight, target)[:, None])


def softmax_focal_loss_forward(input: Tensor, target: Tensor, weight: Tensor, output: Tensor,
                               gamma: float, alpha: float) -> None:
    """-alpha (1 - p)^gamma log p of the target's probability p.

    Args:
        input: (n, c): probabilities, the softmax of the logits.
        target: (n,): classes; below 0: the loss is 0.
        weight: (c,): factors by the target; empty: none.
        output: (n,), to be filled.
        gamma: How fast sure answers fade.
        alpha: A factor.
    """
    p, log_p, factor = _softmax_parts(input, target, weight)
    output.copy_(-alpha * (1 - p) ** gamma * log_p * factor)


def softmax_focal_loss_backward(input: Tensor, target: Tensor, weight: Tensor, buff: Tensor,
                                grad_input: Tensor, gamma: float, alpha: float) -> None:
    """Fill the gradient, by the logits, of the sum of :func:`softmax_focal_loss_forward`.

    The loss changes with p by alpha (gamma (1 - p)^(gamma - 1) log p - (1 - p)^gamma / p), and p
    with the logit x_j by p ([j = target] - p_j). ``buff``, (n,), gets the product of the first
    and p.
    """
    p, log_p, factor = _softmax_parts(input, target, weight)
    focus = torch.where(p < 1, gamma * (1 - p) ** (gamma - 1) * p * log_p, 0)  # 0 is its limit
    slope = alpha * (focus - (1 - p) ** gamma) * factor
    buff.copy_(slope)
    grad_input.copy_(slope[:, None] * (_hit(input, target) - input))


def _signed(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """1 where the class is the target, else 0; and the logits of the right answer."""
    hit = _hit(input, target)
    return hit, _exact(input) * (2 * hit - 1)


def _hit(input: Tensor, target: Tensor) -> Tensor:
    classes = torch.arange(input.shape[1], device=input.device)
    return (target[:, None] == classes).to(_exact(input).dtype)


def _softmax_parts(input: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The target's probability, its logarithm, and the factor of the row: 0 without a target."""
    p = _exact(input).gather(1, target.clamp(min=0)[:, None])[:, 0]
    log_p = p.clamp(min=torch.finfo(torch.float32).tiny).log()
    return p, log_p, _factors(weight, target) * (target >= 0)


def _factors(weight: Tensor, target: Tensor) -> Tensor:
    """The weights of the rows' targets; 1 for what is none of the classes."""
    weight = _exact(weight)
    if not weight.numel():
        return weight.new_ones(len(target))
    inside = (target >= 0) & (target < len(weight))
    return torch.where(inside, weight[target.clamp(0, len(weight) - 1)], 1)


def _exact(values: Tensor) -> Tensor:
    return values if values.dtype == torch.double else values.float()

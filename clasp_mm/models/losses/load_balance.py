"""Load-balance loss of the PC-MoE gates (CLASP eq. 12 and 13; Switch Transformer's form)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .distributed import GlobalLoss, average_together, share_of_mean


def load_balance_term(probs: Tensor, gates: Tensor, task: Tensor,
                      num_tasks: int) -> GlobalLoss[Tensor]:
    """``n sum_j f_j P_j``, the mean over stages and over the tasks that occur in the batch.

    Per stage and task, ``f_j`` is the share of the images whose top-k contains expert j, divided
    by k, and ``P_j`` the mean gate probability of j before top-k, both over the global batch; 1 is
    perfect balance. Multiply by alpha (0.01) to get the paper's term.

    Args:
        probs: Gate probabilities before top-k, of S stages, (S, B, n).
        gates: Gates after top-k, zero where not selected, (S, B, n).
        task: Task index of each image, (B,).
        num_tasks: Number of tasks T.

    Example:
        >>> probs, gates = torch.full((1, 2, 2), .5), torch.eye(2)[None]  # an expert for each image
        >>> average_together(load_balance_term(probs, gates, torch.tensor([0, 0]), num_tasks=1))
        [tensor(1.)]
    """
    selected = gates > 0
    # Sums of products, not matrix products, which autocast would round to half precision.
    members = (task == torch.arange(num_tasks, device=task.device)[:, None]).to(probs.dtype)
    members = members[:, :, None]  # (T, B, 1)
    total = (members * probs[:, None]).sum(2)  # (S, T, n)
    chosen = (members * (selected / selected.sum(-1, keepdim=True))[:, None]).sum(2)
    chosen, count = yield chosen, members.sum(1)
    probability = share_of_mean(total, count)
    share = share_of_mean(chosen, count)
    per_task = probs.shape[-1] * (share * probability).sum(-1).mean(0)
    return per_task.sum() / (count > 0).sum().clamp(min=1)


def load_balance_loss(probs: Sequence[Tensor], gates: Sequence[Tensor], task: Tensor,
                      num_tasks: int) -> Tensor:
    """:func:`load_balance_term`, of gates per stage, with an all-reduce of its own.

    >>> same = torch.tensor([[1., 0.], [1., 0.]])  # both images have one expert
    >>> load_balance_loss([same], [same], torch.tensor([0, 0]), num_tasks=1)
    tensor(2.)
    """
    term = load_balance_term(torch.stack(tuple(probs)), torch.stack(tuple(gates)), task, num_tasks)
    return average_together(term)[0]


def gate_entropy(probs: Tensor) -> GlobalLoss[Tensor]:
    """Entropy of the batch-mean gate over log n, mean over stages: 1 is an even use of experts.

    Args:
        probs: As of :func:`load_balance_term`.

    Example:
        >>> average_together(gate_entropy(torch.full((1, 2, 4), .25)))
        [tensor(1.)]
    """
    mean, = yield (probs.detach().mean(1),)
    entropy = torch.special.entr(mean).sum(-1).mean()
    num_experts = mean.shape[-1]
    return entropy / math.log(num_experts) if num_experts > 1 else torch.ones_like(entropy)

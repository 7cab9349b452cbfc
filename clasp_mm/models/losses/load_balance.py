"""Load-balance loss of the PC-MoE gates (CLASP eq. 12 and 13; Switch Transformer's form)."""

from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor

from .distributed import global_mean


def load_balance_loss(probs: Sequence[Tensor], gates: Sequence[Tensor], task: Tensor,
                      num_tasks: int) -> Tensor:
    """``n sum_j f_j P_j``, the mean over stages and over the tasks that occur in the batch.

    Per stage and task, ``f_j`` is the share of the images whose top-k contains expert j, divided
    by k, and ``P_j`` the mean gate probability of j before top-k, both over the global batch; 1 is
    perfect balance. Multiply by alpha (0.01) to get the paper's term.

    Args:
        probs: Per stage, gate probabilities (B, n) before top-k.
        gates: Per stage, gates (B, n) after top-k, zero where not selected.
        task: Task index of each image, (B,).
        num_tasks: Number of tasks.
    """
    members = torch.nn.functional.one_hot(task, num_tasks).T.to(probs[0].dtype)  # (T, B)
    count = members.sum(1)
    probability = torch.stack([global_mean(members @ p, count[:, None]) for p in probs])
    selected = [(g > 0).to(members.dtype) for g in gates]
    chosen = torch.stack([members @ (s / s.sum(1, keepdim=True)) for s in selected])  # (S, T, n)
    all_reduce(chosen)
    all_reduce(count)
    share = chosen / count.clamp(min=1)[:, None]
    num_experts = probability.shape[-1]
    per_task = num_experts * (share * probability).sum(-1).mean(0)
    return per_task.sum() / (count > 0).sum().clamp(min=1)


def gate_entropy(probs: Sequence[Tensor]) -> Tensor:
    """Entropy of the batch-mean gate over log n, mean over stages: 1 is an even use of experts."""
    mean = torch.stack([p.detach().mean(0) for p in probs])
    world_mean = mean.clone()
    all_reduce(world_mean)
    world_mean = world_mean / get_world_size()
    entropy = torch.special.entr(world_mean).sum(-1)
    if mean.shape[-1] == 1:
        return torch.ones_like(entropy.mean())
    return (entropy / torch.log(torch.tensor(float(mean.shape[-1])))).mean()

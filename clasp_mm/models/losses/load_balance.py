"""Load-balance losses of the PC-MoE gates: CLASP's, of Switch Transformer's form, and Shazeer's."""

import math

import torch
from torch import Tensor

from .distributed import GlobalLoss, share_of_mean


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
        >>> from clasp_mm.models.losses import average_together
        >>> probs, gates = torch.full((1, 2, 2), .5), torch.eye(2)[None]  # an expert for each image
        >>> average_together(load_balance_term(probs, gates, torch.tensor([0, 0]), num_tasks=1))
        [tensor(1.)]
    """
    selected = gates > 0
    sums, members = _sum_per_task(
        torch.stack((probs, selected / selected.sum(-1, keepdim=True))), task, num_tasks)
    total, chosen = sums.unbind()
    chosen, count = yield chosen, members.sum(1)
    probability = share_of_mean(total, count)
    share = share_of_mean(chosen, count)
    per_task = probs.shape[-1] * (share * probability).sum(-1).mean(0)
    return per_task.sum() / (count > 0).sum().clamp(min=1)


def importance_load_term(gates: Tensor, load: Tensor, task: Tensor,
                         num_tasks: int) -> GlobalLoss[Tensor]:
    """``CV(importance)^2 + CV(load)^2``, mean over stages and over the tasks of the batch.

    Shazeer et al., arXiv 1701.06538, eq. 6 to 11. Per stage and task, an expert's importance is the
    sum of its gates after top-k and its load the sum of its smooth load, both over the global
    batch; CV is the standard deviation over the experts by their mean. 0 is perfect balance, n - 1
    each where one expert does all. CLASP's own term counts only which experts are among the K: how
    their gates differ is seen here alone. The source weighs both by 0.1.

    Args:
        gates: Gates after top-k, of S stages, (S, B, n).
        load: Of :class:`~clasp_mm.models.layers.Gates`, (S, B, n).
        task: Task index of each image, (B,).
        num_tasks: Number of tasks T.

    Example:
        >>> from clasp_mm.models.losses import average_together
        >>> gates = torch.tensor([[[1., 0.], [1., 0.]]])  # one expert does all
        >>> average_together(importance_load_term(gates, gates, torch.tensor([0, 0]), num_tasks=1))
        [tensor(2.)]
    """
    total, members = _sum_per_task(torch.stack((gates, load)), task, num_tasks)
    global_total, count = yield total, members.sum(1)
    own = share_of_mean(total, count)
    # The value of the global batch, the gradient of this process's share.
    mean = share_of_mean(global_total, count) + own - own.detach()
    cv_squared = mean.var(-1, correction=0) / mean.mean(-1).square().clamp(min=1e-10)
    return cv_squared.sum(0).mean(0).sum() / (count > 0).sum().clamp(min=1)


def _sum_per_task(rows: Tensor, task: Tensor, num_tasks: int) -> tuple[Tensor, Tensor]:
    """Sums (..., T, n) of rows (..., B, n) over the images of each task, and who they are.

    Sums of products, not matrix products, which autocast would round to half precision.
    """
    members = (task == torch.arange(num_tasks, device=task.device)[:, None]).to(rows.dtype)
    members = members[:, :, None]                                                   # (T, B, 1)
    return (members * rows[..., None, :, :]).sum(-2), members


def gate_entropy(probs: Tensor) -> GlobalLoss[Tensor]:
    """Entropy of the batch-mean gate over log n, mean over stages: 1 is an even use of experts.

    Args:
        probs: As of :func:`load_balance_term`.

    Example:
        >>> from clasp_mm.models.losses import average_together
        >>> average_together(gate_entropy(torch.full((1, 2, 4), .25)))
        [tensor(1.)]
    """
    mean, = yield (probs.detach().mean(1),)
    entropy = torch.special.entr(mean).sum(-1).mean()
    num_experts = mean.shape[-1]
    return entropy / math.log(num_experts) if num_experts > 1 else torch.ones_like(entropy)

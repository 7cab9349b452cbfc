"""What all losses share: precision, and means that do not depend on the number of processes."""

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor


def upcast(x: Tensor) -> Tensor:
    """Half precision becomes float32, anything wider stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """Local share of a mean over all processes.

    Averaging the result over processes, as DistributedDataParallel does with gradients, gives the
    mean of the global batch exactly, also where processes hold different counts.

    Args:
        total: Local sum, any shape; carries the gradient.
        count: Local number of summed items, broadcastable to ``total``; no gradient.

    Returns:
        ``world_size * total / global_count``; 0 (still part of the graph) where nothing was
        counted on any process.
    """
    count = count.detach().to(total.dtype).clone()
    all_reduce(count)
    return get_world_size() * total / torch.where(count > 0, count, torch.ones_like(count))

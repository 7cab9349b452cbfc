"""What all losses share: precision, and means that do not depend on the number of processes.

A loss that needs sums over all processes is a generator, a :data:`GlobalLoss`: it yields the local
tensors, is sent their sums and returns its value. :func:`sum_together` runs several of them with
one all-reduce.
"""

from collections.abc import Generator, Sequence
from typing import Any, TypeVar

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor

Value = TypeVar('Value')
GlobalLoss = Generator[Sequence[Tensor], Sequence[Tensor], Value]


def upcast(x: Tensor) -> Tensor:
    """Half precision becomes float32, anything wider stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def sum_together(*losses: GlobalLoss[Any]) -> list[Any]:
    """Values of losses, after one all-reduce of all that they yield.

    The sums carry no gradient. Beyond one process they are float32 or better, so a count is exact
    up to 2**24.
    """
    sums = [[x.detach() for x in next(loss)] for loss in losses]
    if get_world_size() > 1:
        flat = torch.cat([upcast(x).flatten() for own in sums for x in own])
        all_reduce(flat)
        parts = iter(flat.split([x.numel() for own in sums for x in own]))
        sums = [[next(parts).view_as(x) for x in own] for own in sums]
    return [_finish(loss, own) for loss, own in zip(losses, sums, strict=True)]


def _finish(loss: GlobalLoss[Value], sums: Sequence[Tensor]) -> Value:
    try:
        loss.send(sums)
    except StopIteration as end:
        return end.value
    raise RuntimeError(f'{loss.__name__} yields twice: all sums of a loss go into one all-reduce')


def global_sums(*local: Tensor) -> GlobalLoss[Sequence[Tensor]]:
    """The sums alone, for :func:`sum_together`."""
    return (yield local)


def named(name: str, loss: GlobalLoss[Tensor]) -> GlobalLoss[dict[str, Tensor]]:
    """A loss whose value comes in a dict, under its name."""
    return {name: (yield from loss)}


def share_of_mean(total: Tensor, count: Tensor) -> Tensor:
    """Local share of a mean over all processes.

    Averaging the result over processes, as DistributedDataParallel does with gradients, gives the
    mean of the global batch exactly, also where processes hold different counts.

    Args:
        total: Local sum, any shape; carries the gradient.
        count: Number of summed items of all processes, broadcastable to ``total``.

    Returns:
        ``world_size * total / count``; 0 (still part of the graph) where nothing was counted.
    """
    return get_world_size() * total / count.clamp(min=1)


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """:func:`share_of_mean` of a ``count`` that is the local one, with an all-reduce of its own."""
    (count,), = sum_together(global_sums(count))
    return share_of_mean(total, count)

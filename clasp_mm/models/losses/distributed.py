"""What all losses share: precision, and means that do not depend on the number of processes.

A loss that needs the other processes is a generator, a :data:`GlobalLoss`: it yields local tensors,
is sent their means over all processes and returns its value. :func:`average_together` runs several
of them with one all-reduce.
"""

from collections.abc import Generator, Sequence
from typing import Any, TypeVar

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor

Value = TypeVar('Value')
GlobalLoss = Generator[Sequence[Tensor], Sequence[Tensor], Value]


def upcast(x: Tensor) -> Tensor:
    """Half precision becomes float32, anything wider stays.

    >>> upcast(torch.ones(1, dtype=torch.float16)).dtype
    torch.float32
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))


def average_together(*losses: GlobalLoss[Any]) -> list[Any]:
    """Values of losses, after one all-reduce of all that they yield.

    The means carry no gradient. Beyond one process they are float32 or better, so the count behind
    a mean is exact up to 2**24.

    >>> average_together(global_means(torch.tensor(3.)), named('loss', global_means(torch.ones(2))))
    [[tensor(3.)], {'loss': [tensor([1., 1.])]}]
    """
    means = [[x.detach() for x in next(loss)] for loss in losses]
    if get_world_size() > 1:
        flat = torch.cat([upcast(x).flatten() for own in means for x in own])
        all_reduce(flat)
        parts = iter(flat.div_(get_world_size()).split([x.numel() for own in means for x in own]))
        means = [[next(parts).view_as(x) for x in own] for own in means]
    return [_finish(loss, own) for loss, own in zip(losses, means, strict=True)]


def _finish(loss: GlobalLoss[Value], means: Sequence[Tensor]) -> Value:
    try:
        loss.send(means)
    except StopIteration as end:
        return end.value
    raise RuntimeError(f'{loss.__name__} yields twice: all of a loss goes into one all-reduce')


def global_means(*local: Tensor) -> GlobalLoss[Sequence[Tensor]]:
    """The means alone, for :func:`average_together`.

    >>> average_together(global_means(torch.tensor(3.), torch.ones(2)))
    [[tensor(3.), tensor([1., 1.])]]
    """
    return (yield local)


def named(name: str, loss: GlobalLoss[Tensor]) -> GlobalLoss[dict[str, Tensor]]:
    """A loss whose value comes in a dict, under its name.

    >>> average_together(named('count', global_means(torch.tensor(3.))))
    [{'count': [tensor(3.)]}]
    """
    return {name: (yield from loss)}


def share_of_mean(total: Tensor, count: Tensor) -> Tensor:
    """Local share of a mean over all processes.

    Averaging the result over processes, as DistributedDataParallel does with gradients, gives the
    mean of the global batch exactly, also where processes hold different counts.

    Args:
        total: Local sum, any shape; carries the gradient.
        count: Mean over processes of the number of summed items, broadcastable to ``total``.

    Returns:
        ``total / count``; 0 (still part of the graph) where nothing was counted.

    Example:
        >>> share_of_mean(torch.tensor([6., 0.]), torch.tensor([3, 0]))
        tensor([2., 0.])
    """
    return total / count.clamp(min=1 / get_world_size())


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """:func:`share_of_mean` of a ``count`` that is the local one, with an all-reduce of its own.

    >>> global_mean(torch.tensor(6.), torch.tensor(3))
    tensor(2.)
    """
    (count,), = average_together(global_means(count))
    return share_of_mean(total, count)

"""Private names of torch that have no public counterpart; ``models.layers.cpu`` has the CPUs'."""

from typing import Any

import torch
from torch.utils import _pytree

foreach_copy_, foreach_lerp_ = torch._foreach_copy_, torch._foreach_lerp_
foreach_mul_, foreach_norm = torch._foreach_mul_, torch._foreach_norm
is_compiling = (torch.compiler.is_compiling if hasattr(torch.compiler, 'is_compiling')
                else torch._utils.is_compiling)  # before torch 2.3


def tensors_of(values: Any) -> list[torch.Tensor]:
    """The tensors in nested dicts, lists and tuples."""
    return [leaf for leaf in _pytree.tree_flatten(values)[0] if isinstance(leaf, torch.Tensor)]


def compile_whole_graphs() -> None:
    """Let no compiled graph be cut at the buckets of DistributedDataParallel.

    torch 2.4 cannot cut graphs with checkpoints or autograd functions there, and fails; 2.13 can,
    unless buckets are small.
    """
    torch._dynamo.config.optimize_ddp = False


def unpickled_names() -> dict[str, Any]:
    """What ``weights_only`` lets a file name."""
    from torch._weights_only_unpickler import _get_allowed_globals
    return _get_allowed_globals()

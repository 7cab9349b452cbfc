"""What a training step asks of a GPU, counted without one: operators, host waits, collectives.

Nothing is timed and nothing large is computed: forward and backward pass run on torch's ``meta``
device, where tensors have shapes and no values, so that the paths for a CPU are not taken and a
batch of 96 costs seconds; clipping, optimizer and teacher run on CPU tensors. To count something
else::

    with Counter() as counter:
        loss = model(...)  # whose tensors are on the meta device
        loss.backward()
    counter.operators, counter.waits, counter.collectives  # by name

``clasp_operators = count_step(step_config('clasp'), 96).operators.total()``.
"""

from __future__ import annotations

import tempfile
from collections import Counter as Counts
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from clasp_mm.engine.training_step import TrainingStep
from clasp_mm.utils.files import read_json, write_json

from .contest import Goal, Options, Row
from .step import step_config

BATCHES = (8, 96)
BOUNDS = dict(clasp=3600, dino=2400)

_aten = torch.ops.aten
_UNCOUNTED = frozenset(
    'view _unsafe_view reshape t transpose permute expand slice select squeeze unsqueeze unbind '
    'split split_with_sizes diagonal alias detach as_strided unfold view_as_real '
    'empty empty_like empty_strided new_empty new_empty_strided lift_fresh '
    'promote_types _record_function_enter_new _record_function_exit'.split())
"""Views, allocations and notes of the profiler: they start nothing on a GPU."""

_WAITING = frozenset('_local_scalar_dense nonzero masked_select _unique2 unique_dim equal'.split())


class Counter(TorchDispatchMode):
    """Counts operators below autograd.

    On the meta device attention counts as on a GPU, and a value that the host asks for is 1.

    Attributes:
        operators: By name, without views and allocations.
        waits: What makes the host wait for the device, by name: a value that is read, a shape that
            depends on values, a blocking copy between devices (also of a Python list).
        collectives: Of torch.distributed, by name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operators: Counts[str] = Counts()
        self.waits: Counts[str] = Counts()
        self.collectives: Counts[str] = Counts()
        self._functions = _AsOnGPU(self.waits)

    def __enter__(self) -> Counter:
        self._functions.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._functions.__exit__(*error)

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (),
                           kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        namespace, name = function.name().split('.')[0].split('::')
        if namespace == 'c10d':
            self.collectives[name] += 1
        elif name not in _UNCOUNTED:
            self.operators[name] += 1
        if name in _WAITING or _is_boolean_index(name, args):
            self.waits[name] += 1
            if name == '_local_scalar_dense' and args[0].is_meta:
                return torch.ones((), dtype=args[0].dtype).tolist()
        result = function(*args, **kwargs)
        if name in ('_to_copy', 'copy_') and not kwargs.get('non_blocking'):
            source = args[0] if name == '_to_copy' else args[1]
            if source.device != result.device:
                self.waits[name] += 1
        return result


class _AsOnGPU(TorchFunctionMode):
    """What the meta device would do otherwise than a GPU."""

    def __init__(self, waits: Counts[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, function: Any, types: Any, args: tuple = (),
                           kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if function is F.scaled_dot_product_attention and args[0].is_meta:
            return _attention(*args, **kwargs)
        name = getattr(function, '__name__', '')
        if _copies_a_list(name, args, kwargs):
            self.waits[name] += 1
        return function(*args, **kwargs)


def _copies_a_list(name: str, args: tuple, kwargs: dict) -> bool:
    if name in ('tensor', 'as_tensor'):
        return not isinstance(args[0], Tensor) and str(kwargs.get('device')) == 'meta'
    if name == '__getitem__':
        index = args[1] if isinstance(args[1], tuple) else (args[1], )
        return args[0].is_meta and any(isinstance(one, list) for one in index)
    return name == 'new_tensor' and args[0].is_meta


def _attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
               dropout_p: float = 0., is_causal: bool = False, scale: float | None = None
               ) -> Tensor:
    """As torch calls its memory-efficient kernel, with a bias whose rows are not aligned padded."""
    if attn_mask is not None:
        if any(step % 16 for step in attn_mask.stride()[:-1]):
            width = attn_mask.shape[-1]
            attn_mask = F.pad(attn_mask, (0, -width % 16))[..., :width]
        attn_mask = attn_mask.expand(*query.shape[:-1], key.shape[-2])
    return _aten._scaled_dot_product_efficient_attention(
        query, key, value, attn_mask, query.requires_grad, dropout_p, is_causal, scale=scale)[0]


def _is_boolean_index(name: str, args: tuple) -> bool:
    return name in ('index', 'index_put', 'index_put_', '_index_put_impl_') and any(
        index is not None and (index.dtype == torch.bool or index.device != args[0].device)
        for index in args[1])


def count_step(cfg: Config, batch_size: int) -> Counter:
    """Forward, backward, clipping, optimizer and teacher of a step that is not the first.

    Args:
        cfg: A pretraining config, see :class:`TrainingStep`.
        batch_size: Images.
    """
    step = TrainingStep(cfg, 1, 'cpu')
    model, counter = step.model, Counter()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    for recorder in (Counter(), counter):  # the first step makes the optimizer's state
        with recorder:
            step.optimizer.step()
            model.update_teacher()
    model.to('meta').zero_grad()
    views = [_resized(view, batch_size) for view in step.views]
    samples = {name: _resized(value, batch_size) for name, value in step.samples.items()}
    for recorder in (Counter(), counter):  # ... and the layouts of the windows
        with recorder:
            model.parse_losses(model.loss(views, samples))[0].backward()
    return counter


def _resized(value: Tensor, batch_size: int) -> Tensor:
    return torch.empty(batch_size, *value.shape[1:], dtype=value.dtype, device='meta')


def count_collectives(name: str) -> Counts[str]:
    """Collectives of a step of two processes, beside those of DistributedDataParallel."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_count_in_process, (name, folder), nprocs=2)
        return read_json(Path(folder) / 'counts.json')


def _count_in_process(rank: int, name: str, folder: str) -> None:
    dist.init_process_group('gloo', f'file://{folder}/store', rank=rank, world_size=2)
    step = TrainingStep(step_config(name, quick=True), 2, 'cpu')
    with Counter() as counter:
        step()
    if rank == 0:
        write_json(Path(folder) / 'counts.json', counter.collectives, indent=None)
    dist.barrier()
    dist.destroy_process_group()


def launches(options: Options) -> Iterator[Row]:
    """Operators, host waits and collectives of a DINO and a CLASP step."""
    names = ('dino', 'clasp')
    counters = {(name, batch): count_step(step_config(name, options.quick), batch)
                for name in names for batch in BATCHES}
    for (name, batch), counter in counters.items():
        yield _row(f'{name.upper()} operators', batch, 'the most allowed',
                   counter.operators.total(), BOUNDS[name], 'operators', Goal(1.),
                   dict(counter.operators.most_common()))
    for batch in BATCHES:
        ours, theirs = (counters[name, batch].operators.total() for name in ('clasp', 'dino'))
        yield _row('CLASP over DINO', batch, 'our DINO step', ours, theirs, 'operators', Goal(1.5))
    for name in names:
        counter = counters[name, BATCHES[0]]
        yield _row(f'{name.upper()} host waits', BATCHES[0], 'one wait', counter.waits.total(), 1,
                   'waits', Goal(0.), dict(counter.waits))
    collectives = Counts(count_collectives('clasp'))
    yield _row('CLASP collectives', 2, 'one collective', collectives.total(), 1, 'collectives',
               Goal(2.), dict(collectives))


def _row(name: str, batch: int, peer: str, ours: int, theirs: int, unit: str, goal: Goal,
         counts: dict[str, int] | None = None) -> Row:
    return Row(name, f'a training step, batch {batch}, counted', peer, ours, theirs, unit, goal,
               batch, dict(counts=counts or {}))

"""What a backbone sees in views, in functions that are compiled whole."""

import torch
from torch import Tensor, nn

from ..backbones.pcmoe_swin import Embedded, Task
from ..compiling import compilable
from ..layers.pc_moe import Gates

Seen = tuple[tuple[Tensor, ...], list[Gates]]


@compilable
def forward_prompts(backbone: nn.Module, views: Tensor, task: Task | Tensor | None) -> Seen:
    """The maps of views (N, 3, H, W) and the gates of each PC-MoE."""
    return backbone.from_embed(backbone.embed(views), task)


@compilable
def see_again(backbone: nn.Module, views: Tensor, task: Task | None, rows: Tensor,
              tasks: Tensor) -> Seen:
    """The maps of views, then of some of them again under other prompts.

    Args:
        backbone: A :class:`~clasp_mm.models.PCMoESwin`.
        views: (N, 3, H, W).
        task: The prompt that they share before the first PC-MoE that sees one.
        rows: Those to see again, (R,).
        tasks: Task index of all, (N + R,).

    Returns:
        Maps, each (N + R, C_i, h_i, w_i), and the gates of each PC-MoE.
    """
    first = backbone.first_prompted
    maps, gates, embedded = backbone.run_stages(backbone.embed(views), task, stop=first)
    maps = tuple(_repeat(x, rows) for x in maps)
    gates = [Gates(*(_repeat(x, rows) for x in stage)) for stage in gates]
    if first > max(backbone.out_indices):
        return maps, gates
    more = backbone.from_embed(Embedded(_repeat(embedded.tokens, rows), embedded.hw),
                               backbone.task_rows[tasks], first)
    return maps + more[0], gates + more[1]


def _repeat(x: Tensor, rows: Tensor) -> Tensor:
    """(N, ...) with some of its rows once more behind it."""
    return torch.cat([x, x[rows]]) if len(rows) else x

"""Every prompt that a backbone can be told, from one tree of passes over the images.

A PC-MoE stands on the output of its stage, so stem and first stage serve all prompts, and two
per-stage tuples part only where they first differ: with three prompts and four stages the third
stage, the deep one, is run 9 times for 81 tuples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, groupby, product
from typing import NamedTuple

from torch import Tensor

from ..layers.pc_moe import TASKS, task_weights
from . import Embedded, PCMoESwin

Entry = str | tuple[str, ...] | None
Prompts = tuple[Entry, ...]
KINDS = ('prompt', 'mix', 'tuple')


class Candidate(NamedTuple):
    """What a backbone may be told.

    Attributes:
        kind: Of ``KINDS``: a task, several (their mean), or a task per stage.
        prompts: What each stage is told; None where it has no PC-MoE or is not computed.
    """

    kind: str
    prompts: Prompts

    @property
    def value(self) -> str | tuple:
        """The ``task`` of a config."""
        told = [entry for entry in self.prompts if entry is not None]
        if len(set(told)) == 1:
            one = told[0]
            # As many names as stages would be one name per stage.
            return (one, ) * len(self.prompts) if len(one) == len(self.prompts) and isinstance(
                one, tuple) else one
        filled, last = [], told[0]
        for entry in self.prompts:
            last = last if entry is None else entry
            filled.append(last)
        return tuple(filled)


def prompt_candidates(backbone: PCMoESwin, kinds: Sequence[str] = KINDS) -> list[Candidate]:
    """All prompts, means of two or three, and per-stage tuples of prompts; none twice.

    Tasks that share a prompt (a backbone of two) count once, under the first name.

    Args:
        backbone: With a PC-MoE.
        kinds: Which of ``KINDS``.

    Raises:
        ValueError: There is no PC-MoE, or an unknown kind.
    """
    unknown = set(kinds) - set(KINDS)
    if unknown or not kinds:
        raise ValueError(f'kinds of candidates are {", ".join(KINDS)}, got {tuple(kinds)}')
    last = max(backbone.out_indices)
    told = [stage.moe is not None and i <= last for i, stage in enumerate(backbone.stages)]
    if not any(told):
        raise ValueError(f'{type(backbone).__name__} has no PC-MoE'
                         f'{" in a stage that is computed" if backbone.has_moe else ""}: there is '
                         'no prompt to choose, its features serve every task as they are')
    num_prompts, seen = backbone.task_rows.shape[1], set()

    def new(entry: Entry) -> bool:
        weights = tuple(task_weights(entry, num_prompts)[0].tolist())
        return not (weights in seen or seen.add(weights))

    singles = [name for name in TASKS if new(name)]
    mixes = [names for size in (2, 3) for names in combinations(TASKS, size) if new(names)]
    found = []
    if 'prompt' in kinds:
        found += [Candidate('prompt', _everywhere(name, told)) for name in singles]
    if 'mix' in kinds:
        found += [Candidate('mix', _everywhere(names, told)) for names in mixes]
    if 'tuple' in kinds:
        choices = [singles if has else (None, ) for has in told]
        found += [Candidate('tuple', prompts) for prompts in product(*choices)
                  if len(set(prompts) - {None}) > 1]
    return found


def forward_tree(backbone: PCMoESwin, x: Tensor, prompts: Sequence[Prompts]
                 ) -> Iterator[tuple[Prompts, Tensor]]:
    """Maps of images under many prompts, every stage run once for all that agree up to it.

    Args:
        backbone: With a PC-MoE.
        x: (B, 3, H, W).
        prompts: What each stage is told, as of :class:`Candidate`.

    Yields:
        What the stages up to one were told, and its normed map (B, C_i, H_i, W_i), for every stage
        of ``out_indices``. Depth first, so the tokens of one branch at most are held.
    """
    order = sorted(set(prompts), key=repr)
    yield from _branches(backbone, backbone.embed(x), 0, order)


def _branches(backbone: PCMoESwin, embedded: Embedded, stage: int, prompts: Sequence[Prompts]
              ) -> Iterator[tuple[Prompts, Tensor]]:
    for entry, group in groupby(prompts, key=lambda told: told[stage]):
        own = list(group)
        every_stage = (TASKS[0] if entry is None else entry, ) * backbone.num_stages
        maps, _, after = backbone.run_stages(embedded, every_stage, stage, stage + 1)
        if maps:
            yield own[0][:stage + 1], maps[0]
        if stage < max(backbone.out_indices):
            yield from _branches(backbone, after, stage + 1, own)


def _everywhere(entry: Entry, told: Sequence[bool]) -> Prompts:
    return tuple(entry if has else None for has in told)

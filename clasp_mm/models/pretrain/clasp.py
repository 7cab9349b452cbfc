"""CLASP: DINO, part and attribute pretext tasks over one prompt-controlled backbone."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clasp_mm.registry import MODELS

from ..layers import TASKS, Gates
from ..losses import (
    GlobalLoss,
    average_together,
    gate_entropy,
    importance_load_term,
    load_balance_term,
    named,
)
from .dino import DINO
from .views import see_again

APPEARANCE, PART, ATTRIBUTE = range(len(TASKS))
SEMANTIC_VIEWS = ('all', 'one', 'alternate')
BALANCES = {'switch': (load_balance_term, ('probs', 'gates')),
            'importance_load': (importance_load_term, ('gates', 'load'))}


def semantic_rows(mode: str, sample_idx: Tensor, epoch: int, num_global: int = 2,
                  tasks: Sequence[int] = (PART, ATTRIBUTE)) -> tuple[Tensor, Tensor]:
    """Which global views carry a semantic prompt, and which prompt.

    ``all``: every global view under every prompt; ``one``: the first global view under ``part``,
    the second under ``attribute``; ``alternate``: one view and one prompt an image, by turns over
    the epochs, chosen by the image's index and so the same for any number of processes.

    A task that stands alone has in ``all`` and ``one`` the views that it has beside the other, so
    that leaving the other out changes nothing else; in ``alternate`` it has a view of every image
    at every turn.

    Args:
        mode: One of the above.
        sample_idx: Index of each image in the data set, (B,).
        epoch: Current epoch.
        num_global: Number of global views.
        tasks: The semantic tasks there are: both, one or none.

    Returns:
        Rows into the batch of global views (view by view), (R,), and their task indices, (R,).
    """
    batch_size = len(sample_idx)
    image = torch.arange(batch_size, device=sample_idx.device)
    if not tasks:
        return image[:0], image[:0]
    if mode == 'alternate':
        turn = sample_idx + epoch
        view = (turn // len(tasks)) % num_global
        task = tasks[0] + (tasks[-1] - tasks[0]) * (turn % len(tasks))
        return view * batch_size + image, task
    rows = {'all': {task: torch.arange(num_global * batch_size, device=image.device)
                    for task in tasks},
            'one': {task: (task - PART) * batch_size + image for task in tasks}}[mode]
    return torch.cat(list(rows.values())), torch.cat(
        [torch.full_like(row, task) for task, row in rows.items()])


@MODELS.register_module()
class CLASP(DINO):
    """DINO under the appearance prompt plus CLIP-guided part and attribute losses (eq. 9 to 14).

    ``L = L_dino + part_weight L_part + attr_weight L_attr + balance_weight L_moe``. All that
    precedes the first PC-MoE, which no prompt touches, runs once for all prompts of a view. Without
    a PC-MoE, or with one that no prompt touches, this is all there is: the semantic losses read
    the features of the DINO loss.

    Args:
        backbone: Config of ``clasp_mm.PCMoESwin``.
        head: Config of ``clasp_mm.DINOHead``.
        part_head: Config of ``clasp_mm.PartSegHead``; None leaves the part task out.
        attr_head: Config of ``clasp_mm.AttrHead``; None leaves the attribute task out.
        semantic_views: Which views carry the semantic prompts, see :func:`semantic_rows`.
        part_weight: Weight of the part loss.
        attr_weight: Weight of the attribute loss.
        balance_weight: alpha of the load-balance loss.
        balance: 'switch', the paper's load-balance loss, is blind to how unevenly an image's K
            experts share it; 'importance_load', Shazeer's, is not. See
            :func:`~clasp_mm.models.losses.load_balance_term` and
            :func:`~clasp_mm.models.losses.importance_load_term`.
        **kwargs: See :class:`DINO`.

    Example:
        >>> attr_head = dict(type='clasp_mm.AttrHead', in_channels=256, attribute_sizes=[2])
        >>> model = CLASP(dict(type='clasp_mm.PCMoESwin', arch='nano'),
        ...               dict(type='clasp_mm.DINOHead', in_channels=256, out_dim=16),
        ...               part_head=None, attr_head=attr_head)
        >>> labels = dict(attr_target=torch.tensor([[0], [1]]), sample_idx=torch.tensor([0, 1]),
        ...               label_accepted=torch.tensor([True, True]))
        >>> sorted(model.loss([torch.rand(2, 3, 64, 32), torch.rand(2, 3, 64, 32)], labels))
        ['accepted', 'attr_accuracy', 'gate_entropy', 'loss_attr', 'loss_dino', 'loss_moe']
    """

    task = 'appearance'

    def __init__(self,
                 backbone: dict,
                 head: dict,
                 part_head: dict | None,
                 attr_head: dict | None,
                 semantic_views: str = 'alternate',
                 part_weight: float = 1.0,
                 attr_weight: float = 1.0,
                 balance_weight: float = 0.01,
                 balance: str = 'switch',
                 **kwargs: Any) -> None:
        super().__init__(backbone=backbone, head=head, **kwargs)
        if semantic_views not in SEMANTIC_VIEWS:
            raise ValueError(f'semantic_views must be one of {SEMANTIC_VIEWS}, '
                             f'got {semantic_views!r}')
        if balance not in BALANCES:
            raise ValueError(f'balance must be one of {tuple(BALANCES)}, got {balance!r}')
        if semantic_views == 'one' and self.num_global != 2:
            raise ValueError('semantic_views="one" gives one global view to each semantic task and '
                             f'needs num_global=2, got {self.num_global}')
        self.part_head = None if part_head is None else MODELS.build(part_head)
        self.attr_head = None if attr_head is None else MODELS.build(attr_head)
        self.semantic_tasks = tuple(
            task for task, head in ((PART, self.part_head), (ATTRIBUTE, self.attr_head))
            if head is not None)
        self.semantic_views = semantic_views
        self.part_weight = part_weight
        self.attr_weight = attr_weight
        self.balance_weight = balance_weight
        self.balance_term, self.balance_fields = BALANCES[balance]

    def loss(self, inputs: list[Tensor], data_samples: Mapping[str, Any]) -> dict[str, Tensor]:
        """Losses and logged values of a batch.

        Args:
            inputs: Views, globals first, each (B, 3, H_v, W_v).
            data_samples: ``part_map`` (B, T, h, w) with 255 to ignore, ``attr_target`` (B, A) with
                -1 to ignore, ``label_accepted`` (B,), ``sample_idx`` (B,). Without a part or
                attribute head its labels are not read.
        """
        keys = {PART: 'part_map', ATTRIBUTE: 'attr_target'}
        for key in (*(keys[task] for task in self.semantic_tasks), 'label_accepted'):
            if self.semantic_tasks and key not in data_samples:
                raise KeyError(f'CLASP needs {key!r} in the data samples: put '
                               'clasp_mm.CLIPPseudoLabeler before clasp_mm.MultiCrop in the '
                               'pipeline')
        global_views, local_views = self.split_views(inputs)
        rows, row_task = semantic_rows(self.semantic_views, data_samples['sample_idx'], self.epoch,
                                       self.num_global, self.semantic_tasks)
        num_rows = len(global_views)
        task = F.pad(row_task, (num_rows, 0), value=APPEARANCE)
        maps, gates = see_again(self.backbone, global_views, self.task, rows, task)
        pooled = maps[-1].mean((2, 3))
        local_pooled, local_gates = self.pool_local_views(local_views, self.task)

        student_logits = self.head(torch.cat([pooled[:num_rows], *local_pooled]))
        parts = [self.distill(student_logits, self.teacher(global_views, self.task))]
        if self.part_head is not None:
            part_map = data_samples['part_map'].transpose(0, 1).flatten(0, 1)[rows].long()
            part_map = part_map.masked_fill((row_task != PART)[:, None, None], 255)
            parts.append(self.part_head.global_loss(tuple(m[num_rows:] for m in maps), part_map))
        if self.attr_head is not None:
            attr_target = data_samples['attr_target'].repeat(self.num_global, 1)[rows]
            attr_target = attr_target.masked_fill((row_task != ATTRIBUTE)[:, None], -1)
            parts.append(self.attr_head.global_loss(pooled[num_rows:], attr_target))
        parts += self.balance(gates, local_gates, task)
        losses = {name: value for part in average_together(*parts) for name, value in part.items()}
        for name, weight in (('loss_part', self.part_weight), ('loss_attr', self.attr_weight),
                             ('loss_moe', self.balance_weight)):
            if name in losses and weight != 1:
                losses[name] = weight * losses[name]
        if self.semantic_tasks:
            losses['accepted'] = data_samples['label_accepted'].float().mean()
        return losses

    def balance(self, gates: list, local_gates: list,
                task: Tensor) -> list[GlobalLoss[dict[str, Tensor]]]:
        """Load-balance loss and gate entropy over the rows of both passes."""
        if not gates:
            return []
        passes = [gates, local_gates] if local_gates else [gates]
        by_field = zip(*(zip(*stages, strict=True) for stages in passes), strict=True)
        stacked = Gates(*(torch.cat([torch.stack(stages) for stages in field], 1)
                          for field in by_field))                           # (S, N + R + V B, n)
        if local_gates:
            task = F.pad(task, (0, len(local_gates[0].gates)), value=APPEARANCE)
        seen = [getattr(stacked, name) for name in self.balance_fields]
        return [named('loss_moe', self.balance_term(*seen, task, len(TASKS))),
                named('gate_entropy', gate_entropy(stacked.probs))]

"""Online instance matching, the identity loss of person search."""

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_world_size
from torch import Tensor, nn

from clasp_mm.registry import MODELS

from .distributed import global_mean, upcast

UNLABELLED = 5555  # as the data sets mark people without identity


@MODELS.register_module()
class OIMLoss(nn.Module):
    """Classify people against the running mean of every identity (Xiao et al., CVPR 2017).

    A look-up table holds a unit vector for each identity, a circular queue the last people that
    have none. The loss of a labelled person is the cross-entropy of ``scalar`` times the
    similarities to all of them. Then, in training, ``v = momentum v + (1 - momentum) x``, made a
    unit vector, for each labelled person in turn, and unlabelled ones go into the queue.

    Table and queue are buffers: they are saved, and all processes hold the same, as each takes in
    the people of all, in the order of the ranks. Features that are not finite do not enter.

    Args:
        num_identities: Rows of the table: 5532 on CUHK-SYSU, 483 on PRW.
        queue_size: Length of the queue: 5000 and 500.
        channels: C of the features.
        momentum: Share of the old vector that stays.
        scalar: Inverse temperature.
        loss_weight: Factor on the loss.

    Raises:
        ValueError: ``num_identities`` is beyond ``UNLABELLED``, or ``queue_size`` below 1.

    Example:
        >>> loss = OIMLoss(num_identities=3, queue_size=2, channels=4)
        >>> people, pids = torch.eye(4)[:2], torch.tensor([0, UNLABELLED])
        >>> loss(people, pids)  # log 5: nobody is known yet
        tensor(1.6094)
    """

    def __init__(self, num_identities: int, queue_size: int, channels: int = 256,
                 momentum: float = 0.5, scalar: float = 30., loss_weight: float = 1.) -> None:
        super().__init__()
        if not 1 <= num_identities <= UNLABELLED:
            raise ValueError(f'num_identities must lie in 1..{UNLABELLED}, which marks unlabelled '
                             f'people; got {num_identities}')
        if queue_size < 1:
            raise ValueError(f'queue_size must be at least 1, got {queue_size}')
        self.num_identities = num_identities
        self.momentum, self.scalar, self.loss_weight = momentum, scalar, loss_weight
        self.register_buffer('table', torch.zeros(num_identities, channels))
        self.register_buffer('queue', torch.zeros(queue_size, channels))
        self.register_buffer('head', torch.zeros((), dtype=torch.long))

    def forward(self, features: Tensor, pids: Tensor) -> Tensor:
        """Mean loss of the labelled people of all processes.

        Args:
            features: (N, C) unit vectors of people, labelled or not.
            pids: (N, ) identities from 0, or ``UNLABELLED``.

        Raises:
            ValueError: An identity has no row in the table.
        """
        features = upcast(features)
        labelled = pids != UNLABELLED
        if (pids[labelled] >= len(self.table)).any():
            raise ValueError(
                f'identity {int(pids[labelled].max())} in a table of {len(self.table)}: set '
                "num_identities of clasp_mm.OIMLoss to the data set's, which its log tells")
        known = torch.cat([self.table, self.queue])
        with torch.autocast(features.device.type, enabled=False):
            logits = self.scalar * features @ known.T
        total = F.cross_entropy(logits[labelled], pids[labelled], reduction='sum')
        if self.training:
            self._update(features.detach(), pids)
        return self.loss_weight * global_mean(total, labelled.sum())

    @torch.no_grad()
    def _update(self, features: Tensor, pids: Tensor) -> None:
        features, pids = _gather(features, pids)
        finite = features.isfinite().all(dim=1)
        features, pids = features[finite], pids[finite]
        labelled = pids != UNLABELLED
        self._push(features[~labelled])
        features, pids = features[labelled], pids[labelled]
        # The n-th time that identities occur is one step for all of them.
        occurrence = (pids[:, None] == pids).tril(-1).sum(dim=1)
        for turn in range(int(occurrence.max()) + 1 if len(pids) else 0):
            now = occurrence == turn
            row = pids[now]
            self.table[row] = F.normalize(
                self.momentum * self.table[row] + (1 - self.momentum) * features[now], dim=1)

    def _push(self, features: Tensor) -> None:
        size = len(self.queue)
        places = (self.head + torch.arange(len(features), device=features.device)) % size
        self.queue[places[-size:]] = features[-size:]
        self.head.copy_((self.head + len(features)) % size)


def _gather(features: Tensor, pids: Tensor) -> tuple[Tensor, Tensor]:
    """The people of all processes, in the order of their ranks."""
    if get_world_size() == 1:
        return features, pids
    counts = all_gather(torch.tensor(len(pids), device=pids.device))
    longest = int(max(counts))
    padded = [F.pad(features, (0, 0, 0, longest - len(pids))),
              F.pad(pids, (0, longest - len(pids)))]
    return tuple(torch.cat([one[:count] for one, count in zip(
        all_gather(values.contiguous()), counts, strict=True)]) for values in padded)

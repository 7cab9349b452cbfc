"""Batches of P identities with K images each."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Dataset, Sampler

from clasp_mm.registry import DATA_SAMPLERS

from .array_sampler import Visit


@DATA_SAMPLERS.register_module()
class IdentitySampler(Sampler):
    """P x K sampling (Hermans et al., arXiv 1703.07737) with epochs of equal length.

    In an epoch, the images of each identity are shuffled and cut into groups of K; what is left
    over waits for the next epoch, and an identity of fewer than K images has one group, in which
    some come again, augmented anew. A batch is one group of each of P identities; where fewer have
    groups left, others come again. Every process has its own batches of P * K, so ``batch_size``
    must be P * K, as ``clasp_mm.IdentityCountHook`` sees to.

    It yields :class:`~.array_sampler.Visit` and can begin inside an epoch (``start``), for
    ``clasp_mm.ExactResumeHook``.

    Args:
        dataset: Its ``get_data_info(i)`` must have ``gt_label``.
        num_identities: P.
        num_instances: K.
        seed: Seed of the order; None takes one that all processes share.

    Raises:
        ValueError: P or K is below 1, the data set has fewer than P identities, or no labels.
    """

    start: int = 0

    def __init__(self, dataset: Dataset, num_identities: int = 16, num_instances: int = 4,
                 seed: int | None = None) -> None:
        if num_identities < 1 or num_instances < 1:
            raise ValueError('num_identities and num_instances must be at least 1, got '
                             f'{num_identities} and {num_instances}')
        images = defaultdict(list)
        for index in range(len(dataset)):
            info = dataset.get_data_info(index)
            if 'gt_label' not in info:
                raise ValueError("the data set has no gt_label: IdentitySampler takes split='train'"
                                 ' of a data set of re-identification')
            images[int(info['gt_label'])].append(index)
        self.people = list(images.values())
        if num_identities > len(self.people):
            raise ValueError(f'batches of {num_identities} identities cannot be drawn from '
                             f'{len(self.people)}: lower num_identities (and batch_size)')
        self.num_identities, self.num_instances = num_identities, num_instances
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        groups = sum(max(1, len(own) // num_instances) for own in self.people)
        self.total_batches = max(groups // num_identities, self.world_size)

    def __len__(self) -> int:
        return self._own(self.total_batches) * self.num_identities * self.num_instances

    @property
    def remaining(self) -> int:
        """Images of the epoch that this process has before it."""
        size = self.num_identities * self.num_instances
        return self._own(self.total_batches - self._passed()) * size

    def set_epoch(self, epoch: int) -> None:
        """Choose the draw; called before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Visit]:
        rng = np.random.default_rng((self.seed, self.epoch))
        waiting = [self._groups(images, rng) for images in self.people]
        left = np.array([len(groups) for groups in waiting])
        visits: Counter[int] = Counter()
        batches = []
        for to_come in range(self.total_batches, 0, -1):
            batch = []
            for index in self._batch(waiting, left, to_come, rng):
                batch.append(Visit(index, self.seed, self.epoch, visits[index]))
                visits[index] += 1
            batches.append(batch)
        own = batches[self._passed() + self.rank::self.world_size]
        for batch in own[:self._own(self.total_batches - self._passed())]:
            yield from batch

    def _passed(self) -> int:
        """Batches of all processes that a resumed epoch has behind it."""
        return math.ceil(self.start / (self.num_identities * self.num_instances))

    def _own(self, batches: int) -> int:
        """The share of each process."""
        return max(batches, 0) // self.world_size

    def _groups(self, images: list[int], rng: np.random.Generator) -> list[list[int]]:
        """Groups of K images of one identity, in random order."""
        count = self.num_instances
        order = rng.permutation(images)
        if len(order) < count:
            order = np.concatenate([order, rng.choice(images, count - len(order))])
        return order[:len(order) // count * count].reshape(-1, count).tolist()

    def _batch(self, waiting: list[list[list[int]]], left: np.ndarray, to_come: int,
               rng: np.random.Generator) -> list[int]:
        """Take one group of each of P identities, of ``to_come`` batches the first.

        Args:
            waiting: Groups of each identity.
            left: (I,) how many.
            to_come: Batches of this epoch.
            rng: Of the epoch.
        """
        keys = rng.random(len(left)) + (left == 0) - (left >= to_come)
        chosen = np.argpartition(keys, self.num_identities - 1)[:self.num_identities]
        batch = []
        for person in chosen[np.argsort(keys[chosen])]:
            if not waiting[person]:
                waiting[person] = self._groups(self.people[person], rng)
                left[person] = len(waiting[person])
            batch += waiting[person].pop()
            left[person] -= 1
        return batch

import pickle
from collections import Counter

import numpy as np
import pytest

from clasp_mm.datasets import IdentitySampler
from clasp_mm.datasets import identity_sampler as module
from clasp_mm.datasets.array_sampler import Visit


class Labels:
    """A data set that is only labels: ``counts[i]`` images of identity i, mixed up."""

    def __init__(self, counts):
        self.labels = np.random.default_rng(0).permutation(
            np.repeat(np.arange(len(counts)), counts))

    def __len__(self):
        return len(self.labels)

    def get_data_info(self, index):
        return dict(gt_label=int(self.labels[index]))


COUNTS = [13, 8, 7, 4, 3, 1, 9, 30]


def batches(sampler, size):
    order = list(sampler)
    assert len(order) == len(sampler)
    return [order[start:start + size] for start in range(0, len(order), size)]


@pytest.mark.parametrize('people, shots', [(3, 4), (8, 2), (2, 1), (8, 4)])
def test_every_batch_is_p_by_k(people, shots):
    data = Labels(COUNTS)
    sampler = IdentitySampler(data, people, shots, seed=5)
    for epoch in range(20):
        sampler.set_epoch(epoch)
        for batch in batches(sampler, people * shots):
            found = Counter(data.labels[batch].tolist())
            assert len(found) == people and set(found.values()) == {shots}
            for person in found:  # none comes twice if there are enough
                own = [i for i in batch if data.labels[i] == person]
                assert len(set(own)) == min(shots, COUNTS[person])


def test_an_epoch_goes_through_the_images():
    """Equal identities: nothing is left over, so every image comes once."""
    sampler = IdentitySampler(Labels([8] * 6), 3, 4, seed=1)
    assert len(sampler) == 48 and sorted(sampler) == list(range(48))
    first = [int(i) for i in sampler]
    sampler.set_epoch(1)
    assert [int(i) for i in sampler] != first
    sampler.set_epoch(0)
    assert [int(i) for i in sampler] == first


@pytest.mark.parametrize('world', [2, 3])
def test_processes_share_the_batches(monkeypatch, world):
    data = Labels([8] * 12)
    size, parts = 3 * 4, []
    for rank in range(world):
        monkeypatch.setattr(module, 'get_dist_info', lambda rank=rank: (rank, world))
        parts.append(batches(IdentitySampler(data, 3, 4, seed=2), size))
    assert len({len(part) for part in parts}) == 1
    drawn = [index for part in parts for batch in part for index in batch]
    assert len(set(drawn)) == len(drawn)
    assert all(len(set(data.labels[batch])) == 3 for part in parts for batch in part)


def test_a_resumed_epoch_goes_on():
    sampler = IdentitySampler(Labels(COUNTS), 2, 4, seed=3)
    whole = list(sampler)
    sampler.start = 8
    rest = list(sampler)
    assert rest == whole[8:] and (rest[0].seed, rest[0].epoch) == (3, 0)


def test_an_image_that_comes_again_is_another_visit():
    """So its augmentation is another; the first is that of the image without repeats."""
    data = Labels(COUNTS)
    for epoch in range(3):
        sampler = IdentitySampler(data, 4, 4, seed=3)
        sampler.set_epoch(epoch)
        drawn, seen = list(sampler), Counter()
        for visit in drawn:
            assert visit.repeat == seen[int(visit)]
            seen[int(visit)] += 1
        assert max(seen.values()) > 1
    again = pickle.loads(pickle.dumps(next(visit for visit in drawn if visit.repeat)))
    assert again.repeat > 0
    draws = []
    for visit in (again, Visit(again, again.seed, again.epoch)):
        visit.seed_draws()
        draws.append(np.random.rand())
    np.random.seed((again.seed, again.epoch, int(again)))
    assert draws[0] != draws[1] == np.random.rand()


def test_wrong_input():
    with pytest.raises(ValueError, match='9 identities cannot be drawn from 8'):
        IdentitySampler(Labels(COUNTS), 9)
    with pytest.raises(ValueError, match='got 4 and 0'):
        IdentitySampler(Labels(COUNTS), 4, 0)
    data = Labels([3])
    data.get_data_info = lambda index: dict(pid=0)
    with pytest.raises(ValueError, match="split='train'"):
        IdentitySampler(data, 1)

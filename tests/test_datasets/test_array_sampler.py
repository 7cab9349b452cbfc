import tracemalloc

import pytest
from mmengine.dataset import DefaultSampler

from clasp_mm.datasets import array_sampler
from clasp_mm.datasets.array_sampler import ArraySampler


def order(kind, count, rank, world_size, monkeypatch, **options):
    monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, world_size))
    sampler = kind(range(count), seed=3, **options)
    sampler.set_epoch(2)
    assert len(sampler) == len(list(sampler))
    return list(sampler)


@pytest.mark.parametrize('shuffle', [True, False])
@pytest.mark.parametrize('round_up', [True, False])
@pytest.mark.parametrize('count', [1, 10, 13])
@pytest.mark.parametrize('world_size', [1, 4])
def test_order_is_mmengines(monkeypatch, shuffle, round_up, count, world_size):
    monkeypatch.setattr(array_sampler, '_CHUNK', 3)
    for rank in range(world_size):
        options = dict(shuffle=shuffle, round_up=round_up)
        mine, theirs = (order(kind, count, rank, world_size, monkeypatch, **options)
                        for kind in (ArraySampler, DefaultSampler))
        assert mine == theirs and all(type(index) is int for index in mine)


def test_an_epoch_is_no_python_object_per_image():
    def held(kind):
        tracemalloc.start()
        iterator = iter(kind(range(1_000_000), shuffle=True, seed=0))
        next(iterator)
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return size

    assert held(ArraySampler) < 5e6 < 30e6 < held(DefaultSampler)

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.launches import Counter
from clasp_mm.models.backbones import PCMoESwin
from clasp_mm.pseudo_labels import clustering, regions
from clasp_mm.pseudo_labels.clustering import _lloyd, kmeans
from clasp_mm.pseudo_labels.hashing import hash_names, uniforms
from clasp_mm.pseudo_labels.regions import (
    BROKEN,
    FOREGROUND_RULES,
    find_regions,
    foreground_mask,
    split_norms,
)
from clasp_mm.synthetic import SyntheticPeople
from tests.oracles import kmeans as oracle


@pytest.fixture
def way(request, monkeypatch):
    """What is chosen for a device, on the CPU."""
    monkeypatch.setitem(clustering._WAYS, 'cpu', clustering._WAYS[request.param])


WAYS = pytest.mark.parametrize('way', ['cpu', 'cuda'], indirect=True)


def keys(count, prefix='image'):
    return hash_names(f'{prefix}{i}' for i in range(count))


def clustered_tokens(batch, length, dim, groups, noise, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(batch, groups, dim))
    member = rng.integers(0, groups, size=(batch, length))
    tokens = np.stack([c[m] for c, m in zip(centres, member, strict=True)])
    return torch.tensor(tokens + noise * rng.normal(size=tokens.shape), dtype=torch.float32)


def test_hash_of_a_name_never_changes():
    # Stores on disk are addressed by this value.
    assert hash_names(['a/b.jpg']).tolist() == [12595617411906399591]


def test_uniforms_depend_on_key_and_stream_only():
    a = uniforms(keys(4), 1000)
    assert np.array_equal(uniforms(keys(4)[2:3], 10)[0], a[2, :10])
    assert not np.array_equal(uniforms(keys(4), 1000, stream=1), a)
    assert 0 <= a.min() and a.max() < 1
    assert np.abs(a.mean(axis=1) - 0.5).max() < 0.04
    assert np.abs(np.corrcoef(a) - np.eye(4)).max() < 0.12


@pytest.mark.parametrize('seed', range(3))
def test_split_norms_is_the_best_split(seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(20, 17)).round(1 if seed else 6)  # rounded: many equal values
    got = split_norms(torch.tensor(values)).numpy()
    for row, answer in zip(values, got, strict=True):
        want = oracle.split_scalars(row)
        cost = [oracle.inertia(row[:, None], x.astype(int)) for x in (answer, want)]
        assert cost[0] == pytest.approx(cost[1])
        assert row[answer].min() > row[~answer].max()


def test_split_norms_of_equal_values_has_no_upper_cluster():
    assert not split_norms(torch.full((2, 5), 3.3)).any()
    assert not split_norms(torch.ones(1, 1)).any()


@WAYS
def test_lloyd_equals_slow_reference(way):
    batch, length, ks = 6, 24, (2, 3, 5)
    tokens = clustered_tokens(batch, length, 7, 4, 0.7)
    rng = np.random.default_rng(1)
    # Label 0 alone at the start of some: clusters 1..k-1 are empty and stay so.
    first = np.stack([rng.integers(0, k, size=(batch, 1, length)) for k in ks], axis=1)
    first[:2] = 0
    centred = tokens - tokens.mean(dim=1, keepdim=True)
    got, value = _lloyd(centred @ centred.mT, torch.ones(batch, length),
                        torch.tensor(first, dtype=torch.float32), max(ks), 100)
    for b in range(batch):
        for s, k in enumerate(ks):
            points = tokens[b].double().numpy()
            want = oracle.lloyd(points, first[b, s, 0], k)
            assert np.array_equal(got[b, s].numpy(), want)
            assert value[b, s].item() == pytest.approx(oracle.inertia(points, want), rel=1e-4)


@WAYS
def test_inertia_close_to_sklearn(way):
    batch, length, ks = 40, 64, (3, 4, 5)
    tokens = torch.cat([
        clustered_tokens(batch // 2, length, 32, 6, 0.8),
        torch.randn(batch // 2, length, 6, generator=torch.manual_seed(0)) @ torch.randn(6, 32)])
    mask = torch.rand(batch, length, generator=torch.manual_seed(1)) < 0.6
    labels, value = kmeans(tokens, mask, ks, keys(batch), num_init=10)
    ratios = []
    for b in range(batch):
        points = tokens[b][mask[b]].double().numpy()
        for s, k in enumerate(ks):
            own = oracle.inertia(points, labels[b, s][mask[b]].numpy())
            assert value[b, s].item() == pytest.approx(own, rel=1e-3)
            ratios.append(own / KMeans(k, n_init=10, random_state=0).fit(points).inertia_)
    assert np.mean(ratios) < 1.01
    assert torch.equal(labels >= 0, mask[:, None].expand_as(labels))


@WAYS
def test_finds_the_optimum_of_small_problems(way):
    tokens = clustered_tokens(6, 7, 2, 3, 0.3)
    _, value = kmeans(tokens, None, (2, 3), keys(6))
    for b in range(6):
        for s, k in enumerate((2, 3)):
            best = oracle.best_partition(tokens[b].double().numpy(), k)
            assert value[b, s].item() <= best * 1.02 + 1e-4


@WAYS
def test_result_does_not_depend_on_the_batch(way):
    batch, length = 33, 50
    tokens = clustered_tokens(batch, length, 16, 5, 1.0)
    mask = torch.rand(batch, length, generator=torch.manual_seed(2)) < 0.7
    together, _ = kmeans(tokens, mask, (3, 4, 5), keys(batch))
    for b in (0, 7, 32):
        alone, _ = kmeans(tokens[b:b + 1], mask[b:b + 1], (3, 4, 5), keys(batch)[b:b + 1])
        assert torch.equal(alone[0], together[b])
    other, _ = kmeans(tokens, mask, (3, 4, 5), keys(batch, 'other'))
    assert not torch.equal(other, together)


@WAYS
def test_fewer_distinct_tokens_than_clusters(way):
    tokens = torch.zeros(4, 10, 3)
    tokens[0, :, 0] = torch.arange(10) % 2            # two distinct tokens
    tokens[2] = torch.randn(10, 3)
    mask = torch.ones(4, 10, dtype=torch.bool)
    mask[2, 2:] = False                               # two tokens
    mask[3] = False                                   # none
    labels, value = kmeans(tokens, mask, (3, 5), keys(4))
    assert [labels[b, 0][mask[b]].unique().numel() for b in range(4)] == [2, 1, 2, 0]
    assert value.abs().max() < 1e-5
    assert (labels[3] == -1).all() and (labels[2, :, 2:] == -1).all()


def picture(height, width):
    """Maps (1, 4, h, w): a person (channel 3) of three bands on a darker ground."""
    maps = torch.full((1, 4, height, width), 0.1) + 0.001 * torch.arange(width)
    band = (height - 2) // 3
    for i in range(3):
        maps[0, i, 1 + i * band:1 + (i + 1) * band, 2:-2] = 2
    maps[0, 3, 1:-1, 2:-2] = 5
    return maps


@pytest.mark.parametrize('rule', ['norm', 'feature'])
def test_regions_are_numbered_from_top_to_bottom(rule):
    got = find_regions(picture(14, 8), (3,), keys(1), rule)[0, 0].view(14, 8)
    want = torch.zeros(14, 8, dtype=torch.uint8)
    for band in range(3):
        want[1 + 4 * band:5 + 4 * band, 2:-2] = band + 1
    assert torch.equal(got, want)


def test_feature_rule_takes_the_cluster_inside_even_if_darker():
    maps = 6 - picture(14, 8)
    tokens = maps.flatten(2).mT
    inside = torch.zeros(14, 8, dtype=torch.bool)
    inside[1:13, 2:-2] = True
    assert torch.equal(foreground_mask(tokens, (14, 8), 'feature', keys(1))[0], inside.flatten())
    assert not torch.equal(foreground_mask(tokens, (14, 8), 'norm', keys(1))[0], inside.flatten())


def test_feature_rule_looks_at_density_not_at_size():
    # A strip of sky holds less of the border than the person, but nothing else.
    maps = torch.zeros(1, 2, 14, 8)
    maps[:, 0, 0] = 1
    want = torch.ones(14, 8, dtype=torch.bool)
    want[0] = False
    assert torch.equal(foreground_mask(maps.flatten(2).mT, (14, 8), 'feature', keys(1))[0],
                       want.flatten())


def test_centre_rule_joins_what_lies_in_the_middle():
    # Eight kinds of background in a ring, a person of three colours in the middle.
    maps = torch.zeros(1, 16, 16, 8)
    maps[0, torch.arange(8).repeat(16, 1), torch.arange(16)[:, None], torch.arange(8)] = 1.0
    maps[0, :, 2:14, 2:6] = 0
    for band in range(3):
        maps[0, 8 + band, 2 + 4 * band:6 + 4 * band, 2:6] = 3
    want = torch.zeros(16, 8, dtype=torch.bool)
    want[2:14, 2:6] = True
    got = foreground_mask(maps.flatten(2).mT, (16, 8), 'centre', keys(1)).view(16, 8)
    assert got[want].all()
    assert not got[:, [0, 1, 6, 7]].any()


def test_position_weight_cuts_even_areas_by_place():
    maps = picture(14, 8)
    maps[0, :3] = 0                                     # one colour from head to foot
    maps += 1e-3 * torch.rand(maps.shape, generator=torch.manual_seed(0))
    regions = find_regions(maps, (3,), keys(1), position_weight=1.0)[0, 0].view(14, 8)
    rows = regions[1:13, 3]
    assert rows.tolist() == sorted(rows.tolist()) and set(rows.tolist()) == {1, 2, 3}
    assert (regions[1:13, 2:6] == rows[:, None]).all()
    without = find_regions(maps, (3,), keys(1))[0, 0].view(14, 8)[1:13, 2:6]
    assert not (without == without[:, :1]).all()


@pytest.mark.parametrize('rule', ['norm', 'feature', 'centre'])
def test_constant_maps_have_no_foreground(rule):
    got = find_regions(torch.full((3, 4, 6, 5), 0.37), (3, 4), keys(3), rule)
    assert not got.any()


def test_bad_input_is_named():
    maps = picture(14, 8)
    with pytest.raises(ValueError, match=r'cluster numbers.*16'):
        find_regions(maps, (3, 16), keys(1))
    with pytest.raises(ValueError, match='colour'):
        find_regions(maps, (3,), keys(1), 'colour')


@WAYS
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('rule', FOREGROUND_RULES)
def test_an_image_whose_features_are_not_finite_is_marked_and_no_other(way, value, rule):
    maps = picture(14, 8).repeat(3, 1, 1, 1)
    want = find_regions(maps, (3, 4), keys(3), rule)
    maps[1, 0, 2, 3] = value
    got = find_regions(maps, (3, 4), keys(3), rule)
    assert (got[1] == BROKEN).all() and torch.equal(got[[0, 2]], want[[0, 2]])


def people_maps(count):
    """What a Swin of random weights makes of drawn people, (count, C, 16, 8)."""
    people = SyntheticPeople(count, 1)
    images = torch.stack([torch.from_numpy(people[i].image) for i in range(count)])
    torch.manual_seed(0)
    swin = PCMoESwin('nano', moe=None, out_indices=(1,)).eval()
    with torch.no_grad():
        return swin(images.permute(0, 3, 1, 2)[..., ::2, ::2].float() / 64 - 2)[0]


@pytest.mark.parametrize('rule', FOREGROUND_RULES)
def test_a_gpu_finds_the_regions_that_a_cpu_finds(monkeypatch, rule):
    maps = people_maps(24)
    found = []
    for way in ('cpu', 'cuda'):
        monkeypatch.setitem(clustering._WAYS, 'cpu', clustering._WAYS[way])
        found.append(find_regions(maps, (3, 4, 5), keys(24), rule, 1.5))
    assert torch.equal(*found)
    assert len(found[0].unique()) == 6


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_clustering_on_a_gpu_takes_few_operators_and_no_wait(monkeypatch, device):
    monkeypatch.setitem(clustering._WAYS, 'cpu', clustering._WAYS['cuda'])
    if device == 'cuda':  # pretended: what asks for a value raises, and so does a mixed device
        for module in (clustering, regions):
            monkeypatch.setattr(module, 'upload',
                                lambda array, to: torch.empty(array.shape, device=to))
    with (FakeTensorMode() if device == 'cuda' else nullcontext()), torch.no_grad():
        maps = torch.randn(64, 16, 32, 16, device=device)
        with Counter() as counted:
            find_regions(maps, (3, 4, 5), keys(64), 'centre', 1.5)
    assert not counted.waits
    assert device == 'cuda' or counted.operators.total() <= 600  # what is pretended takes more

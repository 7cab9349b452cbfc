import pickle
import shutil

import numpy as np
import pytest
import torch
from mmcv.transforms.utils import cache_random_params

from clasp_mm.datasets.transforms.clip_pseudo_labeler import build_labeler
from clasp_mm.labelling.make_store import make_store
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY, Vocabulary
from clasp_mm.registry import MODELS, TRANSFORMS
from tests.test_labelling.test_make_store import People
from tests.test_pseudo_labels.fakes import VOCABULARY, make_labeler

TEACHER = dict(type='clasp_mm.PCMoESwin', arch='nano', moe=None)


def transform_of(**kwargs):
    return TRANSFORMS.build(dict(
        type='clasp_mm.CLIPPseudoLabeler', vocabulary=VOCABULARY.to_dict(), **kwargs))


def sample_of(source, index):
    return dict(img=source.images[index][..., ::-1], img_key=source.names[index])


@pytest.fixture(scope='module')
def colour_store(tmp_path_factory):
    source, path = People(30, unreadable=(2,)), tmp_path_factory.mktemp('colour') / 'store'
    make_store(source, make_labeler(), path, num_workers=0, show_progress=False)
    return source, str(path)


@pytest.fixture(scope='module')
def live_cfg(tiny_clip, tmp_path_factory):
    torch.manual_seed(0)
    checkpoint = tmp_path_factory.mktemp('teacher') / 'nano.pth'
    torch.save(MODELS.build(TEACHER).state_dict(), checkpoint)
    return dict(
        clip=tiny_clip, image_size=(64, 32), input_size=(128, 64), stage=2, foreground='feature',
        min_foreground=0.0, min_person_cosine=-1.0,
        teacher=dict(TEACHER, init_cfg=dict(type='Pretrained', checkpoint=str(checkpoint))))


def test_store_gives_maps_and_targets(colour_store):
    source, path = colour_store
    transform = transform_of(store=path)
    labels = make_labeler().label(source.images, source.names)
    accepted = labels.accepted(0.5, 0.2)
    for i in (0, 1, 3, 4, 5):
        results = transform(sample_of(source, i))
        assert results['label_accepted'] == accepted[i]
        assert results['part_map'].shape == (8, 4) and results['part_map'].dtype == np.uint8
        assert results['attr_target'].dtype == np.int64
        if accepted[i]:
            # Pure colours: the parts are the same for every k.
            assert np.array_equal(
                results['part_map'].ravel(), labels.part_maps((3, 4, 5), 0)[i])
            assert np.array_equal(results['attr_target'], labels.attr_targets(0.5)[i])
    for i in (2, 3, 4):                                  # unreadable, black, too little person
        results = transform(sample_of(source, i))
        assert (results['part_map'] == 255).all() and (results['attr_target'] == -1).all()


def test_live_labels_equal_stored_ones(live_cfg, tmp_path):
    source = People(24)
    rng = np.random.default_rng(0)
    source.images = [rng.integers(0, 256, (64, 32, 3), np.uint8) // (1 + i % 3)
                     for i in range(24)]
    make_store(source, build_labeler(**live_cfg), tmp_path / 'store', num_workers=0,
               batch_size=8, show_progress=False)
    stored = TRANSFORMS.build(dict(
        type='clasp_mm.CLIPPseudoLabeler', store=str(tmp_path / 'store')))
    live = TRANSFORMS.build(dict(type='clasp_mm.CLIPPseudoLabeler', labeler=live_cfg))
    seen = []
    for i in range(24):
        sample = sample_of(source, i)
        labels = [transform._labels(sample) for transform in (stored, live)]
        for name, value in vars(labels[0]).items():
            other = getattr(labels[1], name)
            # Batches of another size round the last bit of a cosine differently.
            assert (np.allclose(value, other, atol=1e-3) if value.dtype.kind == 'f'
                    else np.array_equal(value, other)), name
        results = []
        for transform in (stored, live):
            np.random.seed(i)
            results.append(transform(sample_of(source, i)))
        for name in ('part_map', 'attr_target', 'label_accepted'):
            assert np.array_equal(results[0][name], results[1][name]), name
        seen.append(labels[0].region_conf[0])
    assert len(np.unique(seen)) > 100                     # there was something to compare


def test_every_k_is_drawn_and_the_seed_repeats(colour_store):
    transform = transform_of(store=colour_store[1])
    np.random.seed(0)
    drawn = [transform._draw_cluster_number() for _ in range(60)]
    assert {k: drawn.count(k) > 10 for k in (3, 4, 5)} == {3: True, 4: True, 5: True}
    np.random.seed(0)
    assert [transform._draw_cluster_number() for _ in range(60)] == drawn
    with cache_random_params(transform):
        assert len({transform._draw_cluster_number() for _ in range(20)}) == 1
    only = transform_of(store=colour_store[1], cluster_numbers=(4,))
    assert {only._draw_cluster_number() for _ in range(20)} == {4}


def test_the_map_is_that_of_the_drawn_k(colour_store):
    source, path = colour_store
    transform = transform_of(store=path)
    arrays = transform.store.arrays
    changed = {name: np.array(value) for name, value in arrays.items()}
    row = transform.store.row_of(source.names[0])
    changed['region_label'][row] = [1] * 3 + [2] * 4 + [3] * 5    # the label tells the k
    transform.store.arrays = changed
    for seed in range(10):
        np.random.seed(seed)
        k = transform._draw_cluster_number()
        np.random.seed(seed)
        part_map = transform(sample_of(source, 0))['part_map']
        assert set(np.unique(part_map)) - {0} == {k - 2}


def test_order_names_regions_from_top_to_bottom(colour_store):
    source, path = colour_store
    clip, order = transform_of(store=path), transform_of(store=path, naming='order')
    labels = make_labeler().label(source.images, source.names)
    seen = set()
    for i in (0, 1, 5, 6, 7):
        results = []
        for transform in (clip, order):
            np.random.seed(i)
            k = transform._draw_cluster_number()
            np.random.seed(i)
            results.append(transform(sample_of(source, i)))
        by_name, by_order = results
        want = labels.regions[i, (3, 4, 5).index(k)].reshape(8, 4)
        assert np.array_equal(by_order['part_map'], want)
        numbers = np.arange(8)[:, None].repeat(4, 1)
        means = [numbers[want == region].mean() for region in np.unique(want[want > 0])]
        assert means == sorted(means)                    # 1 is the topmost
        assert np.array_equal(by_order['attr_target'], by_name['attr_target'])
        seen.add((by_order['part_map'] != by_name['part_map']).any())
    assert True in seen
    for i in (2, 3, 4):                                  # the filters are the same
        assert (order(sample_of(source, i))['part_map'] == 255).all()
    with pytest.raises(ValueError, match=r"naming must be one of.*'height'"):
        transform_of(store=path, naming='height')


def test_one_store_of_all_k_serves_any_of_them(tmp_path):
    source = People(12)
    make_store(source, make_labeler(cluster_numbers=(2, 3, 4, 5, 6)), tmp_path / 'store',
               num_workers=0, show_progress=False)
    store = str(tmp_path / 'store')
    for numbers in ((3,), (4, 5, 6), (6, 2)):
        transform = transform_of(store=store, cluster_numbers=numbers, naming='order')
        np.random.seed(0)
        drawn = {transform._draw_cluster_number() for _ in range(40)}
        assert drawn == set(numbers)
    with pytest.raises(ValueError, match=r'labels for k in \(2, 3, 4, 5, 6\), none for \[7\]'):
        transform_of(store=store, cluster_numbers=(3, 7))


def test_thresholds(colour_store):
    source, path = colour_store
    strict = transform_of(store=path, min_foreground=0.8)
    assert not strict(sample_of(source, 0))['label_accepted']
    sure = transform_of(store=path, min_part_prob=0.9999999, min_attr_prob=1.0)
    results = sure(sample_of(source, 0))
    assert set(np.unique(results['part_map'])) == {0, 255}
    assert (results['attr_target'] == -1).all() and results['label_accepted']
    with pytest.raises(ValueError, match=r'min_foreground=0.4 is looser than 0.5'):
        transform_of(store=path, min_foreground=0.4)
    with pytest.raises(ValueError, match=r'none for \[6\]'):
        transform_of(store=path, cluster_numbers=(4, 6))


def test_wrong_store_is_named(colour_store, tmp_path):
    source, path = colour_store
    with pytest.raises(ValueError, match=r'vocabulary.*is wanted'):
        TRANSFORMS.build(dict(type='clasp_mm.CLIPPseudoLabeler', store=path))
    with pytest.raises(KeyError, match=r"no image 'elsewhere/0.png'"):
        transform_of(store=path)(dict(img=source.images[0], img_key='elsewhere/0.png'))
    with pytest.raises(FileNotFoundError, match='clasp label make'):
        transform_of(store=str(tmp_path / 'none'))
    with pytest.raises(ValueError, match='either store'):
        transform_of()


def test_a_damaged_store_stops_the_start(colour_store, tmp_path):
    path = shutil.copytree(colour_store[1], tmp_path / 'store')
    transform_of(store=str(path))
    array = path / 'person_cosine.npy'
    array.write_bytes(array.read_bytes()[:-1] + b'\x3d')  # another number that may be
    with pytest.raises(ValueError, match=r'person_cosine\.npy of the label store .* changed'):
        transform_of(store=str(path))


def test_live_mistakes_are_named(live_cfg):
    def build(**changes):
        TRANSFORMS.build(dict(
            type='clasp_mm.CLIPPseudoLabeler', labeler={**live_cfg, **changes}))(
                dict(img=np.zeros((64, 32, 3), np.uint8), img_key='a'))

    with pytest.raises(ValueError, match=r"unknown label setting 'min_foregroud'.*min_foreground"):
        build(min_foregroud=0.2)
    with pytest.raises(ValueError, match='teacher without weights'):
        build(teacher=TEACHER)


def test_travels_to_workers(colour_store, live_cfg):
    source, path = colour_store
    live = TRANSFORMS.build(dict(type='clasp_mm.CLIPPseudoLabeler', labeler=live_cfg))
    live(sample_of(source, 0))
    assert len(pickle.dumps(live)) < 50_000              # neither networks nor labels go along
    again = pickle.loads(pickle.dumps(transform_of(store=path)))
    np.random.seed(0)
    want = transform_of(store=path)
    assert np.array_equal(again(sample_of(source, 0))['attr_target'],
                          want(sample_of(source, 0))['attr_target'])


def test_vocabulary_round_trip():
    assert Vocabulary.from_dict(DEFAULT_VOCABULARY.to_dict()) == DEFAULT_VOCABULARY
    with pytest.raises(ValueError, match=r'unknown vocabulary keys.*words'):
        Vocabulary.from_dict(dict(parts=[], attributes=[], words=[]))

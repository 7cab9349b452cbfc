import numpy as np
import pytest
import torch

from clasp_mm.evaluation.functional import evaluate_reid
from clasp_mm.evaluation.functional import reid_ranking as module
from tests.oracles import reid as oracle


def problem(seed, queries=25, gallery=60, people=8, cameras=3, ties=False):
    """In odd ones some queries are nobody's and some cameras are not known."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(people, 6)) * 1.5

    def draw(number, lowest):
        pids = rng.integers(lowest, people, number)
        features = centres[pids] + rng.normal(size=(number, 6))
        if ties:
            features = np.round(features / 3)
        return features, pids, rng.integers(-(seed % 2), cameras, number)

    (qf, qp, qc), (gf, gp, gc) = draw(queries, -(seed % 2)), draw(gallery, -2)
    return qf, gf, qp, gp, qc, gc


@pytest.mark.parametrize('sort', ['sorted', 'sorted or not'])
@pytest.mark.parametrize('metric', ['euclidean', 'cosine'])
@pytest.mark.parametrize('seed', range(6))
def test_equals_the_loop(seed, metric, sort, monkeypatch):
    if sort != 'sorted':
        monkeypatch.setattr(module, '_FEW', 30)
    arrays = problem(seed, ties=metric == 'euclidean' and seed % 2)
    expected = oracle.evaluate_reid(*arrays, metric=metric)
    for elements in (1, 60 * 7, 1 << 22):  # query by query, uneven chunks, all at once
        monkeypatch.setattr(module, '_CHUNK_ELEMENTS', elements)
        result = evaluate_reid(*arrays, metric=metric, ranks=(1, 3, 50))
        assert result['mAP'] == pytest.approx(expected['mAP'], abs=1e-9)
        np.testing.assert_allclose(result['cmc'], expected['cmc'], atol=1e-9)
        assert [result[f'rank{rank}'] for rank in (1, 3, 50)] == pytest.approx(
            [expected['cmc'][rank - 1] for rank in (1, 3, 50)])
        assert result['num_valid'] == expected['num_valid']
        assert result['num_skipped'] == expected['num_skipped']


def test_by_hand():
    """Ranking: same camera (removed), wrong, right, wrong, right: AP = (1/2 + 2/4) / 2."""
    result = evaluate_reid(
        [[0.]], [[.1], [.2], [.3], [.4], [.5]], [1], [1, 2, 1, 3, 1], [0], [0, 0, 1, 1, 2])
    assert result['mAP'] == 50.
    assert result['cmc'][:3].tolist() == [0., 100., 100.]
    assert (result['rank1'], result['rank5'], result['num_skipped']) == (0., 100., 0)


@pytest.mark.parametrize('cameras', [[-1, -1, -1, -1], [-1, -1, -1, 0], [-1, -1, 0, 3]])
def test_an_unknown_camera_equals_no_other(cameras):
    """Ranking: right, wrong, right, a distractor: AP = (1/1 + 2/3) / 2."""
    result = evaluate_reid([[0.]], [[.1], [.2], [.3], [.4]], [1], [1, 2, 1, 5], [-1], cameras)
    assert result['mAP'] == pytest.approx(100 * 5 / 6)
    assert (result['rank1'], result['num_skipped']) == (100., 0)


def test_who_has_no_identity_is_nobodys_match():
    """Query 1: nobody, right, nobody: AP = 1/2. The second query is nobody."""
    gallery = [[.1], [.2], [.3]]
    result = evaluate_reid([[0.], [0.]], gallery, [1, -1], [-1, 1, -1], [0, 0], [1, 1, 1])
    assert (result['mAP'], result['num_valid'], result['num_skipped']) == (50., 1, 1)
    with pytest.raises(ValueError, match='1 queries are skipped because they have no identity'):
        evaluate_reid([[0.]], gallery, [-1], [-1, 1, -1], None, None)


def test_skipped_queries_do_not_count():
    query, gallery = [[0.], [1.], [5.]], [[0.], [1.]]
    result = evaluate_reid(query, gallery, [1, 2, 9], [1, 2], [0, 0, 0], [1, 0])
    assert result['mAP'] == 100. and (result['num_valid'], result['num_skipped']) == (1, 2)


def test_ties_keep_the_gallerys_order():
    same = np.zeros((4, 3))
    first = evaluate_reid(same[:1], same, [1], [1, 2, 2, 2], [0], [1, 1, 1, 1])
    last = evaluate_reid(same[:1], same, [1], [2, 2, 2, 1], [0], [1, 1, 1, 1])
    assert (first['mAP'], last['mAP']) == (100., 25.)


def test_order_of_the_gallery_is_of_no_consequence():
    qf, gf, qp, gp, qc, gc = problem(11)
    turn = np.random.default_rng(0).permutation(len(gf))
    assert evaluate_reid(qf, gf[turn], qp, gp[turn], qc, gc[turn])['mAP'] == pytest.approx(
        evaluate_reid(qf, gf, qp, gp, qc, gc)['mAP'])


def test_cosine_is_euclidean_on_normalised_features():
    qf, gf, *labels = problem(5)
    unit = [features / np.linalg.norm(features, axis=1, keepdims=True) for features in (qf, gf)]
    cosine = evaluate_reid(qf, gf, *labels, metric='cosine')
    assert cosine['mAP'] == pytest.approx(evaluate_reid(*unit, *labels)['mAP'])
    assert cosine['mAP'] != pytest.approx(evaluate_reid(qf, gf, *labels)['mAP'])


def test_takes_float32_tensors_far_from_the_origin():
    """Float32 products would lose the distances altogether."""
    qf, gf, *labels = problem(7)
    near = evaluate_reid(qf, gf, *labels)
    far = evaluate_reid(torch.tensor(qf + 1e3).float(), torch.tensor(gf + 1e3).float(),
                        *(torch.tensor(values) for values in labels))
    assert far['mAP'] == pytest.approx(near['mAP'], abs=.5)


def test_a_gallery_smaller_than_max_rank():
    result = evaluate_reid([[0.]], [[1.], [2.]], [1], [2, 1], [0], [1, 1], max_rank=20)
    assert result['cmc'].tolist() == [0.] + [100.] * 19


@pytest.mark.parametrize('change, words', [
    (dict(query_features=np.zeros((25, 5))), '5 channels, gallery features 6'),
    (dict(query_features=np.zeros((0, 6))), 'at least one row'),
    (dict(gallery_features=np.zeros(60)), r'\(60,\)'),
    (dict(query_pids=np.zeros(24)), 'query_pids.* 25'),
    (dict(gallery_cams=np.zeros((60, 1))), 'gallery_cams'),
    (dict(gallery_pids=np.full(60, 99)), 'none of the 25 queries'),
    (dict(metric='manhattan'), "'manhattan'"), (dict(ranks=(0, 1)), 'max_rank=50'),
    (dict(ranks=(51,)), 'max_rank=50'), (dict(ranks=()), 'ranks')])
def test_wrong_input(change, words):
    names = ('query_features', 'gallery_features', 'query_pids', 'gallery_pids', 'query_cams',
             'gallery_cams')
    with pytest.raises(ValueError, match=words):
        evaluate_reid(**{**dict(zip(names, problem(0), strict=True)), **change})


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_features_that_are_not_finite(value):
    qf, gf, *labels = problem(0)
    gf[17, 2] = gf[40, 1] = value
    with pytest.raises(ValueError, match='2 gallery features are not finite, the first in row 17'):
        evaluate_reid(qf, gf, *labels)


def test_without_cameras_nothing_is_taken_out():
    arrays = problem(3)
    apart = np.zeros_like(arrays[4]), np.ones_like(arrays[5])
    assert evaluate_reid(*arrays[:4], None, None)['mAP'] == evaluate_reid(
        *arrays[:4], *apart)['mAP']
    with pytest.raises(ValueError, match='both'):
        evaluate_reid(*arrays[:5], None)


@pytest.mark.parametrize('scale, offset', [(1, 0), (1e-3, 0), (1, 30), (1e4, 0)])
def test_near_ties_are_settled_exactly(scale, offset):
    """Distances closer than the rounding of float32 products, in 512 channels."""
    rng = np.random.default_rng(0)
    query = rng.normal(size=(4, 512))
    directions = rng.normal(size=(200, 512))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    gallery = query[0] + directions * (1 + 2e-7 * rng.integers(-9, 9, (200, 1)))
    gallery[100:110] = gallery[:10]
    qf, gf = ((values * scale + offset) for values in (query, gallery))
    labels = np.arange(4) % 2, rng.integers(0, 2, 200), np.zeros(4), np.ones(200)
    expected = oracle.evaluate_reid(qf, gf, *labels)
    result = evaluate_reid(qf, gf, *labels)
    assert result['mAP'] == pytest.approx(expected['mAP'], abs=1e-9)


@pytest.mark.parametrize('scale, offset', [(1, 0), (1e-3, 0), (1, 30), (1e4, 0)])
@pytest.mark.parametrize('normalize', [False, True])
def test_rough_distances_are_off_by_no_more_than_they_say(normalize, scale, offset):
    qf, gf = (torch.randn(number, 200, generator=torch.Generator().manual_seed(number)) * scale
              + offset for number in (5, 300))
    distances = module.FeatureDistances(qf, gf, normalize)
    rows = np.repeat(np.arange(5), 300)
    exact = distances.exact(rows, np.tile(np.arange(300), 5)).reshape(5, 300).astype(float)
    for less in (np.zeros(5), exact.mean(1)):
        found = distances.rough(slice(0, 5), less)
        off = np.abs(found.double().numpy() - (exact - less[:, None]))
        bound = distances.error(slice(0, 5))[:, None]
        assert found.dtype == torch.float32 and off.max() > 0 and (off <= bound).all()
        assert off.max() > bound.min() / 100  # the bound is no empty one


@pytest.mark.parametrize('change, words', [
    (dict(query_cams=np.zeros(25), gallery_cams=np.zeros(60)),
     'own camera or in.*all images are of one camera, 0'),
    (dict(gallery_pids=np.full(60, -5)), '25 queries are skipped because the gallery')])
def test_no_match_at_all_says_why(change, words):
    names = ('query_features', 'gallery_features', 'query_pids', 'gallery_pids', 'query_cams',
             'gallery_cams')
    with pytest.raises(ValueError, match=words):
        evaluate_reid(**{**dict(zip(names, problem(0), strict=True)), **change})

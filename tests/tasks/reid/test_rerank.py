import numpy as np
import pytest
import torch

from clasp_mm.evaluation.functional import evaluate_reid
from clasp_mm.evaluation.functional import reid_rerank as module
from clasp_mm.evaluation.functional.reid_rerank import rerank_distances
from tests.oracles import reid as reid_oracle
from tests.oracles import reid_rerank as oracle


def people(seed, queries=7, gallery=30, identities=5):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(identities, 4)) * 2
    pids = rng.integers(0, identities, queries + gallery)
    features = centres[pids] + rng.normal(size=(queries + gallery, 4))
    return features[:queries], features[queries:], pids[:queries], pids[queries:]


@pytest.mark.parametrize('k1, k2, share', [(20, 6, .3), (6, 3, .3), (5, 1, 0.), (3, 2, 1.),
                                           (60, 6, .5), (7, 8, .1)])
@pytest.mark.parametrize('seed', [0, 1])
def test_equals_the_sets_of_the_paper(seed, k1, k2, share, monkeypatch):
    queries, gallery, *_ = people(seed)
    expected = oracle.rerank(queries, gallery, k1, k2, share)
    for elements in (1, 37 * 5, 1 << 22):
        monkeypatch.setattr(module, '_CHUNK_ELEMENTS', elements)
        found = rerank_distances(torch.tensor(queries), torch.tensor(gallery), k1, k2, share)
        np.testing.assert_allclose(found, expected, atol=2e-6)


def test_duplicates_and_a_gallery_of_one():
    queries, gallery, *_ = people(3)
    gallery = np.concatenate([gallery, gallery[:9], queries[:3]])
    expected = oracle.rerank(queries, gallery, 4, 2, .3)
    found = rerank_distances(torch.tensor(queries), torch.tensor(gallery), 4, 2, .3)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    same = torch.ones(3, 4)
    np.testing.assert_allclose(rerank_distances(same[:2], same[:1], 20, 2), 0, atol=1e-6)


def test_evaluation_ranks_by_it():
    queries, gallery, query_pids, gallery_pids = people(4)
    cams = np.zeros(7, int), np.ones(30, int)
    result = evaluate_reid(queries, gallery, query_pids, gallery_pids, *cams,
                           rerank=dict(k1=6, k2=3))
    distances = oracle.rerank(queries, gallery, 6, 3, .3)
    expected = [reid_oracle.average_precision(row, gallery_pids == pid)
                for row, pid in zip(distances, query_pids, strict=True)]
    np.testing.assert_allclose(result['average_precision'], 100 * np.array(expected), atol=1e-9)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, gallery)]
    assert evaluate_reid(queries, gallery, query_pids, gallery_pids, *cams, metric='cosine',
                         rerank=True)['mAP'] == pytest.approx(
        evaluate_reid(*unit, query_pids, gallery_pids, *cams, rerank=True)['mAP'])


@pytest.mark.parametrize('options', [dict(k1=0), dict(k2=0), dict(k1=3, k2=5),
                                     dict(lambda_value=1.5)])
def test_wrong_input(options):
    with pytest.raises(ValueError, match='re-ranking takes k1'):
        rerank_distances(torch.ones(2, 2), torch.ones(2, 2), **options)

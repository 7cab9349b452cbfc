import pickle

import numpy as np
import pytest
import torch
import torch.distributed as dist

from clasp_mm.engine.launch import leave_together
from clasp_mm.evaluation import ReIDMetric, reid_metric
from clasp_mm.evaluation.functional import evaluate_reid
from tests.two_at_once import spread


@pytest.fixture
def logged(monkeypatch):
    lines = []
    monkeypatch.setattr(reid_metric, 'print_log', lambda text, **_: lines.append(text))
    return lines


def people(number=60, seed=0, cameras=3):
    rng = np.random.default_rng(seed)
    pids = rng.integers(0, 6, number)
    features = rng.normal(size=(6, 5))[pids] + rng.normal(size=(number, 5))
    return [dict(feature=torch.tensor(features[i]).float(), pid=int(pids[i]),
                 camera=int(rng.integers(cameras)), is_query=i % 3 == 0, img_path=f'{i}.jpg')
            for i in range(number)]


def run(samples, meta=None, **options):
    metric = ReIDMetric(**options)
    metric.dataset_meta = meta or {}
    for start in range(0, len(samples), 7):
        metric.process(None, samples[start:start + 7])
    return metric.evaluate(len(samples))


def arrays(samples):
    parts = [[s for s in samples if s['is_query'] == flag] for flag in (True, False)]
    return [np.stack([np.asarray(s[key]) for s in part])
            for key in ('feature', 'pid', 'camera') for part in parts]


def test_scores_are_those_of_the_function():
    samples = people()
    scores = run(samples, rerank=dict(k1=5, k2=2))
    for options, end in ((dict(), ''), (dict(rerank=dict(k1=5, k2=2)), '_reranked')):
        expected = evaluate_reid(*arrays(samples), **options)
        for name in ('mAP', 'rank1', 'rank5', 'rank10'):
            assert scores[f'reid/{name}{end}'] == expected[name]
    assert scores['reid/num_skipped'] == expected['num_skipped']


def test_without_cameras_only_the_querys_own_file_is_left_out(logged):
    samples = [dict(sample, camera=-1) for sample in people()]
    twins = [dict(sample, is_query=False) for sample in samples if sample['is_query']]
    scores = run(samples + twins)
    queries, gallery, qp, gp, *_ = arrays(samples + twins)
    own = np.arange(len(queries)), np.r_[np.full(len(gallery) - len(twins), -1),
                                         np.arange(len(twins))]
    assert scores['reid/mAP'] == evaluate_reid(queries, gallery, qp, gp, *own)['mAP']
    assert scores['reid/rank1'] < 100  # else each would find itself
    assert logged == ['protocol no-camera: 20 queries, 60 gallery images']


def few(*cameras):
    """Of a query, found in this order: itself, right, wrong, right, a distractor."""
    pids, is_query = [1, 1, 1, 2, 1, 0], [True, *[False] * 5]
    return [dict(feature=torch.tensor([.1 * max(0, i - 1), 1.]), pid=pids[i], camera=cameras[i],
                 is_query=is_query[i], img_path=f'{max(i, 1)}.jpg') for i in range(6)]


@pytest.mark.parametrize('cameras, told', [
    ([-1] * 6, 'protocol no-camera: 1 queries, 5 gallery images'),
    ([-1] * 5 + [0], 'protocol cross-camera: 1 queries, 5 gallery images; the camera of 5 is not '
                     'known'),
    ([-1, -1, -1, 2, -1, 0], 'protocol cross-camera: 1 queries, 5 gallery images; the camera of 4 '
                             'is not known')])
def test_a_distractor_with_a_camera_changes_nothing(cameras, told, logged):
    """The own file left out: AP = (1/1 + 2/3) / 2."""
    assert run(few(*cameras))['reid/mAP'] == pytest.approx(100 * 5 / 6)
    assert logged == [told]


def test_a_query_that_finds_only_itself_says_so(logged):
    samples = few(*[-1] * 6)
    scores = run([samples[0], samples[1], samples[3], one(samples[5], camera=0)])
    assert np.isnan(scores['reid/mAP'])
    assert ('1 queries are skipped because the gallery has their identity only under their own '
            'camera or in their own file, which do not count') in logged[1]
    assert 'one camera' not in logged[1]


def one(sample, **changes):
    return {**sample, **changes}


@pytest.mark.parametrize('change, meta, words', [
    (lambda s: one(s, camera=0), {}, 'in their own file, which do not count; all images are of '
                                     'one camera, 0'),
    (lambda s: one(s, pid=s['pid'] + 100 * s['is_query']), {}, '20 queries are skipped because '
                                                              'the gallery has no image'),
    (lambda s: one(s, feature=s['feature'] * float('nan')) if s['img_path'] == '4.jpg' else s, {},
     'no score: 1 of 60 images have features that are not finite'),
    (lambda s: one(s, feature=torch.ones(5)), {}, 'features of all images are equal'),
    (lambda s: one(s, feature=1 + s['feature'] / 50), {}, 'a mean cosine of 0.999'),
    (lambda s: s, dict(shared_with_train=2), '2 identities of the test set were trained on'),
    (lambda s: one(s, feature=torch.eye(6)[s['pid']]), {}, '20 of 20 queries have the very '
                                                           'features of a gallery image')])
def test_an_odd_score_says_why(change, meta, words, logged):
    scores = run([change(sample) for sample in people()], meta)
    assert words in logged[1]
    assert np.isnan(scores['reid/mAP']) == ('no score' in logged[1])


def test_a_plain_score_says_nothing(logged):
    run(people(240))
    assert logged == ['protocol cross-camera: 80 queries, 160 gallery images']


@pytest.mark.parametrize('is_query, words', [
    (False, 'no score: there are no queries among the 40 images of the test set: set split="test"'),
    (True, 'no score: there are no gallery images among the 20 images')])
def test_half_a_test_set_is_nan_and_says_so(is_query, words, logged):
    scores = run([one for one in people() if one['is_query'] == is_query], rerank=True)
    names = [f'reid/{name}{end}' for name in ('mAP', 'rank1', 'rank5', 'rank10')
             for end in ('', '_reranked')]
    assert np.isnan([scores[name] for name in names]).all()
    assert scores['reid/num_skipped'] == 20 * is_query and words in logged[0]


def test_what_is_missing():
    samples = people()
    del samples[0]['camera']
    with pytest.raises(ValueError, match=r"no 'camera': PackInputs needs meta_keys"):
        run(samples)


def _process(rank, world_size, out):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{out}/meet', rank=rank,
                            world_size=world_size)
    samples = people(59)
    count = -(-len(samples) // world_size) * world_size  # as DefaultSampler pads
    own = [samples[i % len(samples)] for i in range(count)][rank::world_size]
    metric = ReIDMetric()
    metric.dataset_meta = {}
    metric.process(None, own)
    with open(f'{out}/{rank}.pkl', 'wb') as file:
        pickle.dump(metric.evaluate(len(samples)), file)
    leave_together()


@pytest.mark.slow
def test_processes_give_exactly_the_scores_of_one(tmp_path):
    spread(_process, 3, str(tmp_path), count=3)
    expected = run(people(59))
    for rank in range(3):
        with open(tmp_path / f'{rank}.pkl', 'rb') as file:
            assert pickle.load(file) == expected

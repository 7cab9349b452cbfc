import numpy as np
import pytest
import torch
import torch.distributed as dist

from clasp_mm.engine.launch import leave_together
from clasp_mm.evaluation import person_search_metric
from clasp_mm.evaluation.functional import evaluate_person_search
from clasp_mm.registry import METRICS
from tests.oracles import person_search as oracle
from tests.two_at_once import spread

CHANNELS = 6
THRESHOLD = 0.5


def some_boxes(rng, count):
    corner, size = rng.integers(0, 60, (count, 2)), rng.integers(4, 60, (count, 2))
    return np.concatenate([corner, corner + size], 1).astype(float)


def draw(seed, images=14, pids=5, levels=None, jitter=4, crowd=6):
    """Frames with true people and detections on and beside them; few levels give ties."""
    rng = np.random.default_rng(seed)
    data = dict(boxes=[], scores=[], features=[], gt_boxes=[], gt_pids=[])
    for _ in range(images):
        truth = some_boxes(rng, rng.integers(0, 4))
        # An identity is in a frame once; 5555 is somebody unknown.
        names = rng.permutation(pids)[:len(truth)]
        names[rng.random(len(truth)) < .2] = 5555
        near = truth[rng.integers(0, len(truth), 5)] if len(truth) else truth
        found = np.concatenate([near + rng.normal(0, jitter, near.shape),
                                some_boxes(rng, rng.integers(0, crowd))])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        features = rng.normal(size=(len(found), CHANNELS))
        scores = rng.uniform(.3, 1, len(found))
        if levels:
            features, scores = features.round() % levels, scores.round(1)
        for key, value in zip(data, (found, scores, features, truth, names), strict=True):
            data[key].append(value)
    places = [(image, row) for image in range(images) for row in range(len(data['gt_pids'][image]))
              if data['gt_pids'][image][row] != 5555]
    chosen = [places[at] for at in rng.permutation(len(places))[:8]]
    features = rng.normal(size=(len(chosen), CHANNELS))
    data |= dict(
        query_features=features.round() % levels if levels else features,
        query_images=[image for image, _ in chosen],
        query_boxes=np.array([data['gt_boxes'][image][row] for image, row in chosen]),
        query_pids=[data['gt_pids'][image][row] for image, row in chosen])
    return data


def galleries_of(data, seed):
    rng = np.random.default_rng(seed)
    return [[int(image) for image in rng.permutation(len(data['boxes'])) if image != own][:9]
            for own in data['query_images']]


def by_oracle(data, galleries, topk=(1, 5, 10), cbgm=None):
    people = [list(zip(b.tolist(), s.tolist(), f.tolist(), strict=True)) for b, s, f in zip(
        data['boxes'], data['scores'], data['features'], strict=True)]
    queries = []
    for image, box, pid, feature in zip(data['query_images'], data['query_boxes'],
                                        data['query_pids'], data['query_features'], strict=True):
        shown = {frame: boxes[list(names).index(pid)].tolist() for frame, (boxes, names) in
                 enumerate(zip(data['gt_boxes'], data['gt_pids'], strict=True)) if pid in names}
        queries.append(dict(image=image, box=box, feature=feature.tolist(), shown=shown))
    if galleries is None:
        galleries = [[frame for frame in range(len(people)) if frame != image]
                     for image in data['query_images']]
    score, top, skipped = oracle.search(people, queries, galleries, THRESHOLD, topk, cbgm)
    ap, recall = oracle.detection(people, [one.tolist() for one in data['gt_boxes']], THRESHOLD)
    return dict(mAP=score, **{f'top{k}': value for k, value in zip(topk, top, strict=True)},
                det_AP=ap, det_recall=recall, num_skipped=skipped,
                num_valid=len(queries) - skipped)


@pytest.mark.parametrize('with_galleries', [True, False])
@pytest.mark.parametrize('changes', [
    dict(), dict(levels=2), dict(levels=1), dict(crowd=1), dict(jitter=15), dict(images=40)],
    ids=str)
@pytest.mark.parametrize('seed', range(4))
def test_equals_the_oracle(seed, changes, with_galleries):
    data = draw(seed, **changes)
    galleries = galleries_of(data, seed) if with_galleries else None
    expected = by_oracle(data, galleries)
    found = search(**data, galleries=galleries)
    assert found == pytest.approx(expected, abs=1e-6)
    assert expected['det_recall'] > 10


@pytest.mark.parametrize('cbgm', [(3, 3), (100, 4), (5, 1)])
@pytest.mark.parametrize('with_galleries', [True, False])
@pytest.mark.parametrize('seed', range(4))
def test_context_matching_equals_the_oracle(seed, with_galleries, cbgm):
    data = draw(seed, crowd=2, images=30)
    galleries = galleries_of(data, seed) if with_galleries else None
    found = search(**data, galleries=galleries, cbgm=cbgm)
    assert found == pytest.approx(by_oracle(data, galleries, cbgm=cbgm), abs=1e-6)
    if cbgm == (100, 4):
        assert found['mAP'] != search(**data, galleries=galleries)['mAP']


def search(**arguments):
    """Scores without the queries' own, whose mean they have."""
    found = evaluate_person_search(**arguments)
    precisions = found.pop('average_precision')
    assert precisions.shape == (found['num_valid'] + found['num_skipped'],)
    assert np.isnan(precisions).sum() == found['num_skipped']
    if found['num_valid']:
        assert np.nanmean(precisions) == pytest.approx(found['mAP'])
    return found


def one_query(**changes):
    """One person in frames 1 and 2, alone, detected exactly; she is most similar to herself."""
    box = np.array([[10., 10., 30., 60.]])
    data = dict(
        boxes=[box, box, np.concatenate([box, box + 100])],
        scores=[np.array([.9]), np.array([.9]), np.array([.9, .8])],
        features=[np.eye(2)[:1], np.eye(2)[:1], np.eye(2)],
        gt_boxes=[box, box, box], gt_pids=[np.array([7])] * 3,
        query_features=np.eye(2)[:1], query_images=[0], query_boxes=box, query_pids=[7])
    return {**data, **changes}


def test_a_perfect_search_and_what_takes_from_it():
    assert search(**one_query()) == dict(
        mAP=100, top1=100, top5=100, top10=100, det_AP=100, det_recall=100, num_valid=1,
        num_skipped=0)
    unsure = search(**one_query(
        scores=[np.array([.9]), np.array([.4]), np.array([.9, .8])]))
    assert unsure['mAP'] == 50 and unsure['top1'] == 100  # recall 1 of 2
    misled = search(**one_query(
        features=[np.eye(2)[:1], 2 * np.eye(2)[:1], np.eye(2)[::-1]]))
    assert misled['mAP'] == pytest.approx(100 * (1 + 2 / 3) / 2)
    tied = search(**one_query(
        features=[np.eye(2)[:1], np.eye(2)[:1], np.eye(2)[::-1]]))
    assert tied['mAP'] == pytest.approx(100 * (1 / 2 + 2 / 3) / 2) and tied['top1'] == 100


def test_context_matching_by_hand():
    """Query q = (1, 0); beside her c = (0, 1), of confidence 0.8, with an IoU of 0.5.

    Similarities: frame 1 has t = (0.60, 0.10), which is right, and b = (0.58, 0.70); frame 2
    s = (0.80, 0), frame 3 r = (0.65, 0), frame 4 d = (0.50, 0.20) and e = (0.10, 0.95). The best
    four are s, r, t, b, so frames 1 to 3 are matched. In 1, q - t and c - b sum up to 0.60 + 0.70,
    more than q - b and c - t with 0.58 + 0.10, and the largest of both is 0.70, which t gets. In 2
    and 3 q has the only detection, with what it had. Ranked: s 0.80, t 0.70, r 0.65, ...
    """
    queried, beside = [0., 0., 10., 30.], [0., 10., 10., 40.]  # both 200, each 300: 200 / 400
    place, other = [50., 0., 60., 30.], [90., 0., 100., 30.]
    data = dict(
        boxes=[np.array(one) for one in ([queried, beside], [place, other], [place], [place],
                                         [place, other])],
        scores=[np.array([.9, .8]), *(np.ones(count) for count in (2, 1, 1, 2))],
        features=[np.array(one) for one in (
            [[.9, 0], [0, .8]], [[.6, .1], [.58, .7]], [[.8, 0]], [[.65, 0]],
            [[.5, .2], [.1, .95]])],
        gt_boxes=[np.array([queried]), np.array([place]), *[np.zeros((0, 4))] * 3],
        gt_pids=[np.array([7])] * 2 + [np.zeros(0, int)] * 3,
        query_features=np.array([[1., 0.]]), query_images=[0], query_boxes=np.array([queried]),
        query_pids=[7])
    plain = search(**data)
    assert plain['mAP'] == pytest.approx(100 / 3)  # after s and r
    found = search(**data, cbgm=(4, 2))
    assert found['mAP'] == pytest.approx(50) and (found['top1'], found['top5']) == (0, 100)
    alone = search(**data, cbgm=(4, 1))
    assert alone['mAP'] == plain['mAP']


def test_small_people_need_less_overlap():
    truth, shifted = np.array([[0., 0., 10., 10.]]), np.array([[0., 0., 10., 4.]])
    data = one_query(boxes=[truth, shifted, truth[:0]], scores=[np.ones(1), np.ones(1), np.ones(0)],
                     features=[np.eye(2)[:1], np.eye(2)[:1], np.eye(2)[:0]],
                     gt_boxes=[truth, truth, truth[:0]], query_boxes=truth,
                     gt_pids=[np.array([7]), np.array([7]), np.array([], int)])
    assert search(**data)['mAP'] == 100  # 0.4 >= 100 / 400
    data['gt_boxes'][1] = data['gt_boxes'][1] * 10
    data['boxes'][1] = data['boxes'][1] * 10
    assert search(**data)['mAP'] == 0  # 0.4 < 0.5


def test_nothing_detected_scores_nothing():
    none = [np.zeros((0, 4))] * 3, [np.zeros(0)] * 3, [np.zeros((0, 2))] * 3
    found = search(**one_query(**dict(zip(('boxes', 'scores', 'features'), none,
                                                          strict=True))))
    assert found['mAP'] == found['top10'] == found['det_AP'] == found['det_recall'] == 0


def test_a_query_nobody_shows_is_counted_apart():
    data = one_query(query_features=np.eye(2), query_images=[0, 1], query_pids=[7, 8],
                     query_boxes=np.ones((2, 4)))
    found = search(**data)
    assert (found['mAP'], found['num_valid'], found['num_skipped']) == (100, 1, 1)
    found = search(**one_query(query_pids=[8]))
    assert np.isnan([found['mAP'], found['top1'], found['top10']]).all()
    assert (found['num_valid'], found['num_skipped'], found['det_recall']) == (0, 1, 100)


@pytest.mark.parametrize('changes, message', [
    (dict(galleries=[[]]), 'gallery of query 0 is empty'),
    (dict(galleries=[[1, 3]]), 'names image 3, there are 3'),
    (dict(galleries=[[1, -1]]), 'names image -1'),
    (dict(galleries=[[1], [2]]), '2 galleries for 1 query'),
    (dict(query_features=np.array([[np.nan, 0.]])), 'query features are not finite, the first of '
                                                    'query 0'),
    (dict(features=[np.eye(2)[:1], np.array([[0, np.inf]]), np.eye(2)]), 'the first in image 1'),
    (dict(features=[np.eye(2)[:1], np.eye(2), np.eye(2)]), 'image 1 has 1 boxes and 2 features'),
    (dict(scores=[np.ones(1)]), 'scores of 1 images, boxes of 3'),
    (dict(query_features=np.zeros(2)), r'must be \(queries, channels\)'),
])
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        search(**one_query(**changes))


def samples_of(data, galleries):
    samples = []
    for image in range(len(data['boxes'])):
        own = [at for at, where in enumerate(data['query_images']) if where == image]
        samples.append(dict(
            img_id=image, img_path=f'{image}.jpg',
            pred_instances=dict(bboxes=torch.tensor(data['boxes'][image]),
                                scores=torch.tensor(data['scores'][image]),
                                features=torch.tensor(data['features'][image])),
            instances=[dict(bbox=box.tolist(), bbox_label=int(pid)) for box, pid in zip(
                data['gt_boxes'][image], data['gt_pids'][image], strict=True)],
            queries=[dict(query=at, bbox=data['query_boxes'][at].tolist(),
                          pid=int(data['query_pids'][at]),
                          gallery=galleries[at] if galleries else None) for at in own],
            query_features=torch.tensor(data['query_features'][own])))
    return samples


@pytest.mark.parametrize('with_galleries', [True, False])
def test_registered_metric_in_any_order_of_batches(with_galleries):
    data = draw(3)
    galleries = galleries_of(data, 3) if with_galleries else None
    samples = samples_of(data, galleries)
    metric = METRICS.build(dict(type='clasp_mm.PersonSearchMetric', topk=(1, 3), cbgm=(4, 3)))
    order = np.random.default_rng(0).permutation(len(samples))
    for batch in np.array_split(order, 4):
        metric.process(None, [samples[at] for at in batch])
    expected = search(**data, galleries=galleries, topk=(1, 3), cbgm=(4, 3))
    found = metric.evaluate(len(samples))
    assert found == pytest.approx({f'search/{k}': v for k, v in expected.items()}, abs=1e-3)


def test_metric_says_what_is_missing():
    samples = samples_of(draw(3), None)
    metric = METRICS.build(dict(type='clasp_mm.PersonSearchMetric'))
    with pytest.raises(ValueError, match=r'sample 0\.jpg has no queries.*meta_keys'):
        metric.process(None, [{k: v for k, v in samples[0].items() if k != 'queries'}])
    metric.process(None, samples[3:])
    with pytest.raises(ValueError, match='galleries need the whole test split'):
        metric.evaluate(len(samples) - 3)


@pytest.mark.parametrize('change, words', [
    (lambda one: dict(one, queries=[], query_features=one['query_features'][:0]),
     'mAP and top-k are NaN: no frame has a query; person search is scored on the test split'),
    (lambda one: dict(one, queries=[dict(query, pid=99) for query in one['queries']]),
     'queries is shown by a frame of its gallery; check identities and galleries')])
def test_nothing_to_search_for_is_nan_and_says_so(change, words, monkeypatch):
    lines = []
    monkeypatch.setattr(person_search_metric, 'print_log', lambda text, **_: lines.append(text))
    samples = samples_of(draw(3), None)
    metric = METRICS.build(dict(type='clasp_mm.PersonSearchMetric'))
    metric.process(None, samples)
    whole = metric.evaluate(len(samples))
    metric.process(None, [change(one) for one in samples])
    scores = metric.evaluate(len(samples))
    assert all(np.isnan(scores[f'search/{name}']) for name in ('mAP', 'top1', 'top5', 'top10'))
    assert scores['search/det_AP'] == whole['search/det_AP'] and scores['search/num_valid'] == 0
    assert len(lines) == 1 and words in lines[0]


def _process(rank, out):
    dist.init_process_group('gloo', init_method=f'file://{out}/meet', rank=rank, world_size=2)
    samples = samples_of(draw(3, images=13), None)
    metric = METRICS.build(dict(type='clasp_mm.PersonSearchMetric'))
    # As DistributedSampler: by turns, filled up from the start.
    for at in range(rank, 14, 2):
        metric.process(None, [samples[at % 13]])
    torch.save(metric.evaluate(13), f'{out}/{rank}.pt')
    leave_together()


def test_two_processes_score_what_one_does(tmp_path):
    spread(_process, str(tmp_path), count=2)
    metric = METRICS.build(dict(type='clasp_mm.PersonSearchMetric'))
    metric.process(None, samples_of(draw(3, images=13), None))
    expected = metric.evaluate(13)
    assert expected == torch.load(tmp_path / '0.pt') == torch.load(tmp_path / '1.pt')

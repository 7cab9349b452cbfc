import numpy as np
import pytest
import torch
import torch.distributed as dist
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmpretrain.structures import DataSample

from clasp_mm.engine.launch import leave_together
from clasp_mm.evaluation.functional import attribute_metrics, attribute_table
from tests.oracles import attribute as oracle
from tests.two_at_once import spread

NAMES = ('mA', 'accuracy', 'precision', 'recall', 'F1')


def problem(images=23, attributes=5, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.choice([1, 0, -1], size=(images, attributes), p=[.3, .6, .1])
    labels[:, 1] = 0
    return rng.random((images, attributes)).astype(np.float32), labels


def samples_of(scores, labels, losses=None):
    samples = []
    for index, (score, label) in enumerate(zip(scores, labels, strict=True)):
        sample = DataSample(metainfo=dict(img_path=f'{index}.jpg'))
        sample.set_pred_score(torch.tensor(score)).set_gt_score(torch.tensor(label).float())
        if losses is not None:
            sample.set_field(torch.tensor(losses[index]), 'loss')
        samples.append(sample)
    return samples


def evaluate(samples, rank=0, world_size=1, **options):
    evaluator = Evaluator(dict(type='clasp_mm.AttributeMetric', **options))
    evaluator.dataset_meta = dict(classes=('a', 'b', 'c', 'd', 'e'))
    # DefaultSampler repeats the first ones to give each process as many.
    indices = np.resize(np.arange(len(samples)), -(-len(samples) // world_size) * world_size)
    for start in range(rank, len(indices), 3 * world_size):
        batch = indices[start:start + 3 * world_size:world_size]
        evaluator.process([samples[index] for index in batch])
    return evaluator.evaluate(len(samples))


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(MMLogger, 'callHandlers', lambda self, record: lines.append(
        record.getMessage()))
    MMLogger.get_instance('attribute-metric')
    return lines


CASES = {
    'one image': (np.array([[.9, .1, .6]]), np.array([[1, 0, -1]])),
    'one attribute': (np.array([[.9], [.2]]), np.array([[1], [0]])),
    'at the threshold': (np.full((4, 2), .5), np.array([[1, 0], [0, 1], [1, 1], [0, 0]])),
    'just above': (np.full((4, 2), np.nextafter(np.float32(.5), np.float32(1))),
                   np.array([[1, 0], [0, 1], [1, 1], [0, 0]])),
    'nothing predicted': (np.zeros((3, 2)), np.array([[1, 0], [0, 1], [0, 0]])),
    'all predicted': (np.ones((3, 2)), np.array([[1, 0], [0, 1], [0, 0]])),
    'one attribute unknown': (np.array([[.9, .9], [.1, .1]]), np.array([[1, -1], [0, -1]])),
    'images without an attribute': (np.zeros((4, 2)), np.array([[0, 0], [0, 0], [1, 0], [0, 1]])),
    'only one defined': (np.array([[.9, .9, .1], [.8, .9, .9]]), np.array([[1, 1, 0], [0, 1, 0]])),
    'duplicates': (np.repeat([[.9, .1], [.2, .7]], 50, 0), np.repeat([[1, 1], [0, 0]], 50, 0)),
}


@pytest.mark.parametrize('case', CASES)
def test_hard_cases_equal_counting(case):
    scores, labels = CASES[case]
    result, expected = (f(scores, labels) for f in (attribute_metrics, oracle.attribute_metrics))
    for name in NAMES:
        assert result[name] == pytest.approx(expected[name], abs=1e-9, nan_ok=True), name
    assert np.isnan(result['mA']) == (case == 'one image')  # where no attribute has both
    np.testing.assert_allclose(result['per_attribute']['mA'], expected['per_attribute'])


def test_integers_of_any_width_are_counted_whole():
    """300 positives of uint8 and int8 labels do not wrap round."""
    labels = np.zeros((600, 2), np.int8)
    labels[:300] = 1
    for dtype in (np.int8, np.uint8, np.float32, np.int64):
        result = attribute_metrics(labels.astype(float), labels.astype(dtype))
        assert result['per_attribute']['num_positive'].tolist() == [300, 300]
        assert result['mA'] == 100


def test_is_the_function_and_the_mean_loss():
    scores, labels = problem()
    losses = np.arange(23.)
    result = evaluate(samples_of(scores, labels, losses))
    expected = attribute_metrics(scores, labels)
    for name in (*NAMES, 'num_undefined'):
        assert result[f'attribute/{name}'] == expected[name], name
    assert result['attribute/bce'] == 11. and len(result) == 7
    assert 'attribute/bce' not in evaluate(samples_of(scores, labels))
    assert evaluate(samples_of(scores, labels), threshold=.3)['attribute/mA'] == attribute_metrics(
        scores, labels, .3)['mA']


def _process(rank, world_size, out):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{out}/meet', rank=rank,
                            world_size=world_size)
    scores, labels = problem()
    result = evaluate(samples_of(scores, labels, np.linspace(0, 1, 23) ** 2), rank, world_size,
                      per_attribute=True)
    torch.save(result, f'{out}/{rank}.pt')
    leave_together()


def test_two_processes_give_the_result_of_one_exactly(tmp_path):
    """23 images: one is seen twice and must count once."""
    spread(_process, 2, str(tmp_path), count=2)
    scores, labels = problem()
    expected = evaluate(samples_of(scores, labels, np.linspace(0, 1, 23) ** 2),
                        per_attribute=True)
    assert np.isnan(expected.pop('attribute/mA/b'))
    for rank in (0, 1):
        found = torch.load(tmp_path / f'{rank}.pt', weights_only=False)
        assert np.isnan(found.pop('attribute/mA/b'))
        assert found == expected


def test_what_has_no_positive_is_told(said):
    scores, labels = problem()
    result = evaluate(samples_of(scores, labels))
    assert result['attribute/num_undefined'] == 1
    assert 'mA leaves out what has no positive or no negative here: b' in said


@pytest.mark.parametrize('per_attribute', [True, False])
def test_without_both_values_of_any_attribute_mean_accuracy_is_nan(said, per_attribute):
    """Ten images, each with a and b, of which all are found: the sets are right."""
    labels = np.tile([1, 1, 0, 0, -1], (10, 1))
    result = evaluate(samples_of(np.abs(labels) * .8 * (labels > 0), labels),
                      per_attribute=per_attribute)
    assert np.isnan(result['attribute/mA']) and result['attribute/F1'] == 100
    assert result['attribute/num_undefined'] == 5
    assert ('mA is NaN: none of 5 attributes has both an image with it and one without among the '
            '10 images') in said
    assert not any('leaves out' in line for line in said)


def test_table(said):
    scores, labels = problem()
    result = evaluate(samples_of(scores, labels), per_attribute=True)
    full = attribute_metrics(scores, labels)
    table, = (line for line in said if '| attribute |' in line)
    assert attribute_table(full, 'abcde') in table
    rows = table.strip().splitlines()[2:]
    columns = full['per_attribute']
    assert [row.split(' | ')[0] for row in rows] == ['| a', '| b', '| c', '| d', '| e']
    assert rows[1] == f'| b | - | - | {columns["tnr"][1]:.2f} | 0 | {columns["num_negative"][1]} |'
    for index, name in enumerate('abcde'):
        np.testing.assert_equal(result[f'attribute/mA/{name}'], columns['mA'][index])


def test_says_what_is_wrong():
    scores, labels = problem()
    scores[3, 2] = np.nan
    with pytest.raises(ValueError, match=r'3\.jpg: the model gives NaN'):
        evaluate(samples_of(scores, labels))
    samples = samples_of(*problem())
    del samples[0].gt_score
    with pytest.raises(ValueError, match=r'0\.jpg has no gt_score'):
        evaluate(samples)
    other = DataSample(metainfo=dict(img_path='x.jpg'))
    other.set_field(torch.zeros(4), 'pred_score')
    other.set_field(torch.zeros(5), 'gt_score')
    with pytest.raises(ValueError, match=r'x\.jpg: the model knows 4 attributes, the data have 5'):
        evaluate([other])

import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement, InstanceData

from clasp_mm.engine.launch import leave_together
from clasp_mm.evaluation import miss_rate_metric
from clasp_mm.evaluation.functional import log_average_miss_rate
from clasp_mm.registry import METRICS
from clasp_mm.synthetic import write_citypersons
from tests.test_evaluation.test_miss_rate import problem
from tests.two_at_once import spread

NAMES = ('Reasonable', 'Small', 'Heavy', 'All')


def samples_of(columns):
    """What a detector returns on a test set of clasp_mm.CityPersons."""
    samples = []
    for detections, scores, boxes, visibility, ignore in zip(*columns, strict=True):
        instances = [dict(bbox=box, visibility=visible, ignore_flag=int(ignored)) for
                     box, visible, ignored in zip(boxes.tolist(), visibility.tolist(), ignore,
                                                  strict=True)]
        sample = BaseDataElement(metainfo=dict(img_path='a.png', instances=instances))
        sample.pred_instances = InstanceData(
            bboxes=torch.tensor(detections), scores=torch.tensor(scores),
            labels=torch.zeros(len(scores), dtype=torch.long))
        samples.append(sample)
    return samples


def evaluate(samples, rank=0, world_size=1, **options):
    evaluator = Evaluator(dict(type='clasp_mm.MissRateMetric', **options))
    # DefaultSampler repeats the first ones to give each process as many.
    indices = np.resize(np.arange(len(samples)), -(-len(samples) // world_size) * world_size)
    for index in indices[rank::world_size]:
        evaluator.process([samples[index]])
    return evaluator.evaluate(len(samples))


def test_is_the_function():
    columns = problem(4, images=25)
    result = evaluate(samples_of(columns))
    expected = log_average_miss_rate(*columns)
    assert result == {f'miss_rate/{name}': expected[name] for name in NAMES}
    assert evaluate(samples_of(columns), setups=['Heavy']) == {
        'miss_rate/Heavy': expected['Heavy']}


def test_other_classes_are_no_pedestrians():
    columns = problem(4)
    samples = samples_of(columns)
    for sample in samples:
        found = sample.pred_instances
        sample.pred_instances = InstanceData.cat([found, InstanceData(
            bboxes=torch.rand(9, 4).sort().values * 100, scores=torch.ones(9),
            labels=torch.ones(9, dtype=torch.long))])
    assert evaluate(samples) == evaluate(samples_of(columns))
    for sample in samples:
        sample.pred_instances.labels.zero_()
    assert evaluate(samples) != evaluate(samples_of(columns))


def _process(rank, world_size, out):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{out}/meet', rank=rank,
                            world_size=world_size)
    samples = samples_of(problem(4, images=25))
    assert list(DefaultSampler(samples, shuffle=False)) == np.resize(
        np.arange(25), 26)[rank::world_size].tolist()
    torch.save(evaluate(samples, rank, world_size), f'{out}/{rank}.pt')
    leave_together()


def test_two_processes_give_the_result_of_one(tmp_path):
    """25 images: one is seen twice and must count once."""
    spread(_process, 2, str(tmp_path), count=2)
    expected = evaluate(samples_of(problem(4, images=25)))
    for rank in (0, 1):
        assert torch.load(tmp_path / f'{rank}.pt', weights_only=True) == expected


@pytest.mark.parametrize('form', ['gtBboxCityPersons/val', 'val_gt.json'])
def test_on_clasp_citypersons(tmp_path, form):
    """The annotations themselves as detections miss nobody; shifted ones everybody."""
    pytest.importorskip('mmdet', reason='needs mmdet: bash tools/setup.sh')
    from clasp_mm.datasets.citypersons import CityPersons
    write_citypersons(tmp_path, 'val', 6, size=(128, 256), num_people=(10, 14), workers=1,
                      progress=False)
    data = CityPersons(data_root=str(tmp_path), ann_file=form, test_mode=True,
                       data_prefix=dict(img='leftImg8bit/val'))
    for shift, expected in ((0., 0.), (1000., 100.)):
        samples = []
        for index in range(6):
            info = data.get_data_info(index)
            boxes = torch.tensor([one['bbox'] for one in info['instances']])
            sample = BaseDataElement(metainfo=dict(instances=info['instances']))
            sample.pred_instances = InstanceData(
                bboxes=boxes + shift, scores=torch.linspace(.9, .1, len(boxes)))
            samples.append(sample)
        assert evaluate(samples, setups=['All']) == {'miss_rate/All': expected}


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match="'reasonable'"):
        METRICS.build(dict(type='clasp_mm.MissRateMetric', setups=['reasonable']))
    samples = samples_of(problem(0))
    del samples[0].instances
    with pytest.raises(ValueError, match=r"a.png has no 'instances'.* meta_keys"):
        evaluate(samples)


def test_without_pedestrians_it_is_nan_and_says_so(monkeypatch):
    lines = []
    monkeypatch.setattr(miss_rate_metric, 'print_log', lambda text, **_: lines.append(text))
    alone = samples_of([column[:1] for column in problem(1)])
    one = dict(bbox=[0, 0, 20, 100], visibility=.5, ignore_flag=0)  # occluded: Heavy and All
    alone[0].set_metainfo(dict(instances=[one]))
    scores = evaluate(alone)
    assert [math.isnan(scores[f'miss_rate/{name}']) for name in NAMES] == [True, True, False, False]
    assert lines == ['Reasonable, Small: NaN, no pedestrian of 1 images counts']

import pytest
import torch

from clasp_mm.analysis.task_conflict import System, conflict_table, measure_system
from clasp_mm.registry import MODELS
from clasp_mm.visualization.analysis import draw_bars
from tests.oracles import conflict as oracle
from tests.test_engine.test_teacher_hook import make_config, people  # noqa: F401
from tests.test_evaluation.test_conflict import turn_into_clasp


@pytest.fixture
def system(people, tmp_path):  # noqa: F811
    cfg = make_config(people, tmp_path)
    cfg.custom_imports = dict(imports=['clasp_mm.engine.estimate'])
    turn_into_clasp(cfg)
    config, checkpoint = tmp_path / 'clasp.py', tmp_path / 'clasp.pth'
    cfg.dump(config)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), checkpoint)
    return System('CLASP', str(config), checkpoint, (90., 60.))


def test_a_system_is_measured_alike_each_time_and_its_parts_make_its_figures(system):
    row, again = (measure_system(system, batches=2) for _ in range(2))
    assert row == again
    assert row['batches'] == 2 and row['cosines'] > 20 and 0 < row['gcr'] < 1
    assert row['ead'] == pytest.approx(oracle.ead(row['expert_use']))
    assert row['hm'] == pytest.approx(oracle.harmonic(90., 60.))
    assert len(row['gcr_of']) == 3
    assert min(row['gcr_of'].values()) <= row['gcr'] <= max(row['gcr_of'].values())
    table = conflict_table([row]).splitlines()
    assert f'{row["gcr"]:.3f}' in table[2] and '72.00' in table[2]


def test_a_checkpoint_without_heads_is_refused(system, tmp_path):
    bare = tmp_path / 'bare.pth'
    torch.save(dict(state_dict={'stages.0': torch.zeros(1)}), bare)
    with pytest.raises(ValueError, match='is no training checkpoint'):
        measure_system(system._replace(checkpoint=bare))
    with pytest.raises(ValueError, match='at least one batch'):
        measure_system(system, batches=0)


def test_bars_are_drawn_where_values_are():
    full, empty = (draw_bars(['a', 'b'], {'GCR': values}) for values in ((.5, .5), (.5, None)))
    assert full.shape == empty.shape and (full != empty).any()

import json

import numpy as np
import pytest

from clasp_mm.analysis.convergence import convergence_table, read_validations, time_to_score
from clasp_mm.visualization.analysis import draw_convergence
from tests.oracles.convergence import first_at_least

STEPS, SCORES = 6, (10., 42., 40., 77.)  # an epoch; one score an epoch


def write_log(folder, start, seconds, epochs, by_epoch=True):
    """Logs as MMEngine's, one row every three steps, from the given epoch on."""
    log = folder / start / 'vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    rows = []
    for epoch in epochs:
        for step in range((epoch - 1) * STEPS + 3, epoch * STEPS + 1, 3):
            row = dict(loss=1., time=float(np.mean(seconds[step - 3:step])), iter=step, step=step)
            rows.append(dict(row, epoch=epoch) if by_epoch else row)
        rows.append(dict(mAP=SCORES[epoch - 1], time=.1,
                         step=epoch if by_epoch else epoch * STEPS))
    log.write_text(''.join(json.dumps(row) + '\n' for row in rows))


@pytest.mark.parametrize('by_epoch', [True, False])
@pytest.mark.parametrize('target', [5, 41, 77, 90])
def test_time_to_a_score_is_the_oracle_and_a_resumed_run_counts_once(tmp_path, target, by_epoch):
    seconds = np.random.rand(STEPS * len(SCORES)) * 100
    write_log(tmp_path, '20260101_000000', seconds, (1, 2, 3), by_epoch)
    write_log(tmp_path, '20260102_000000', seconds, (3, 4), by_epoch)  # resumed after epoch 2
    rows = read_validations(tmp_path, 'mAP')
    assert [row['score'] for row in rows] == list(SCORES)
    found, expected = time_to_score(rows, target), first_at_least(seconds, STEPS, SCORES, target)
    assert (found is None) == (expected is None)
    if found:
        assert found['hours'] == pytest.approx(expected[1])
        assert not by_epoch or found['epoch'] == expected[0]


def test_a_miss_rate_is_reached_from_above():
    rows = [dict(score=score) for score in (30., 12., 9.)]
    assert time_to_score(rows, 12, lower_is_better=True) is rows[1]


def test_the_table_tells_when_and_what_was_best():
    runs = {'a': [dict(epoch=1., hours=.5, score=30.), dict(epoch=2., hours=1., score=20.)],
            'b': [dict(epoch=1., hours=.5, score=5.)]}
    first, second = convergence_table(runs, 'mAP', 25).splitlines()[2:]
    assert first == '| a | 1 | 0.5 | 30.00 | 20.00 |'
    assert second == '| b | - | not reached | 5.00 | 5.00 |'
    assert '| a | 2 | 1 | 20.00 |' in convergence_table(runs, 'mAP', 25, lower_is_better=True)


def test_missing_logs_and_metrics_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='work directory'):
        read_validations(tmp_path, 'mAP')
    write_log(tmp_path, 'run', np.ones(24), (1,))
    with pytest.raises(ValueError, match=r"'mIoU'.*mAP"):
        read_validations(tmp_path, 'mIoU')


def test_the_picture_shows_the_runs_and_the_target():
    run = {'a': ([1, 2, 3], [10., 20., 30.])}
    low, high = (draw_convergence(run, target, 'mAP', 'epoch') for target in (15, 25))
    assert low.shape == high.shape and (low != high).any()

"""All six tasks scored on a frozen backbone, and the same scores from sums over people."""

import numpy as np
import pytest
import torch

from clasp_mm.evaluation.frozen.tasks import (
    METRICS,
    SCORE_OF_SUMS,
    TASK_PROMPTS,
    detection_sums,
    evaluate_tasks,
    write_scenes,
)
from clasp_mm.evaluation.functional import detection_average_precision
from clasp_mm.models import PCMoESwin
from clasp_mm.synthetic import SyntheticPeople, load_ground_truth, write_people


def test_the_sums_of_people_and_scenes_have_the_scores(tmp_path):
    for at, name in enumerate(('train', 'held_out')):
        write_people(tmp_path / name, SyntheticPeople(6, 6, seed=at, size=(64, 32)), workers=1,
                     progress=False)
    write_scenes(tmp_path / 'scenes', 10)
    torch.manual_seed(0)
    backbone = PCMoESwin(arch=dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2)), strides=(4, 2),
                         window_size=4, out_indices=(0, 1), moe=None).eval()
    scores, sums = evaluate_tasks(
        backbone, *(load_ground_truth(tmp_path / name) for name in ('train', 'held_out')),
        tmp_path / 'scenes', (64, 32), dict.fromkeys(TASK_PROMPTS))
    assert set(sums) == set(METRICS.values()) == set(scores) - {'rank1'}
    for metric, units in sums.items():
        assert SCORE_OF_SUMS[metric](units.sum(0)) == pytest.approx(scores[metric], abs=1e-6)
    assert {len(sums[metric]) for metric in ('mAP', 'mIoU', 'mA', 'PCK')} == {6}
    assert len(sums['det AP']) == 10


def test_binned_precision_is_close_and_that_of_a_resample_too():
    """Half of 40 scenes' boxes are right, the surer the oftener."""
    rng = np.random.default_rng(0)
    truth = [rng.uniform(0, 200, (12, 2)) for _ in range(40)]
    truth = [np.concatenate([corner, corner + np.array([20, 60])], 1) for corner in truth]
    found = [np.concatenate([boxes[:8], boxes[:8] + 300]) for boxes in truth]
    scores = [np.concatenate([rng.normal(1, 1, 8), rng.normal(0, 1, 8)]) for _ in truth]
    sums = detection_sums(found, scores, truth)
    assert sums[:, :65].sum() == 640 and sums[:, -1].sum() == 480
    for chosen in (np.arange(40), rng.integers(0, 40, 40)):
        expected = detection_average_precision(*([one[at] for at in chosen]
                                                 for one in (found, scores, truth)))
        assert SCORE_OF_SUMS['det AP'](sums[chosen].sum(0)) == pytest.approx(
            expected['det_AP'], rel=.02)
        assert sums[chosen, 65:130].sum() / sums[chosen, -1].sum() == pytest.approx(
            expected['det_recall'] / 100)
    nothing = detection_sums([boxes[:0] for boxes in truth], [np.zeros(0)] * 40, truth)
    assert SCORE_OF_SUMS['det AP'](nothing.sum(0)) == 0

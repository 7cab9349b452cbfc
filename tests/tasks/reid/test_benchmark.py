import pytest

from benchmarks.contest import Options
from benchmarks.reid import features_like, plain_mean_ap
from benchmarks.run import run_benchmarks
from clasp_mm.evaluation.functional import evaluate_reid


def test_the_plain_form_computes_the_same():
    arrays = features_like(10, 4000)
    assert plain_mean_ap(*arrays) == pytest.approx(evaluate_reid(*arrays)['mAP'], abs=1e-9)


@pytest.mark.slow
def test_rows():
    rows = list(run_benchmarks(['reid'], Options(quick=True, repeats=1)))
    assert [row.name.split(' 96x64')[0] for row in rows] == [
        'Re-identification'] * 3 + ['evaluate_reid']
    assert all(row.ours > 0 and row.theirs > 0 for row in rows)

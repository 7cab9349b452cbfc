import json
import runpy
import sys

import numpy as np
import pytest
import torch

from benchmarks.contest import Options
from benchmarks.inference import inference
from benchmarks.multi_task import multi_task
from clasp_mm.analysis.branching import Branched, format_table
from clasp_mm.models import PCMoESwin
from clasp_mm.models.backbones.branched import forward_tasks
from clasp_mm.models.layers import TASKS
from clasp_mm.synthetic import SyntheticPeople, write_people
from tests.source_tree import ROOT

QUICK = Options(quick=True, repeats=1)


@torch.no_grad()
def test_what_is_scored_is_what_one_pass_gives():
    torch.manual_seed(0)
    backbone = PCMoESwin('nano', out_indices=(0, 1, 2, 3)).eval()
    for name, parameter in backbone.named_parameters():
        if '.moe.' in name:
            torch.nn.init.normal_(parameter, std=.1)
    images = torch.randn(2, 3, 64, 32)
    for stage in range(4):
        found = forward_tasks(backbone, images, TASKS, stage)
        branched = Branched(backbone, stage)
        for task in TASKS:
            torch.testing.assert_close(branched(images, task), found[task])


def test_the_tool_scores_and_times(tmp_path, monkeypatch, capsys):
    for name, seed in (('train', 1), ('held_out', 2)):
        write_people(tmp_path / name, SyntheticPeople(num_identities=6, images_per_identity=2,
                                                      size=(64, 32), seed=seed), workers=1,
                     progress=False)
    torch.manual_seed(0)
    config = next((ROOT / 'configs/quickstart').glob('clasp_*_synthetic-64x32.py'))
    monkeypatch.setattr(sys, 'argv', [
        'multi_task.py', str(config), '--train', str(tmp_path / 'train'), '--held-out',
        str(tmp_path / 'held_out'), '--size', '32', '16', '--repeats', '1',
        '--out', str(tmp_path / 'out')])
    runpy.run_path(str(ROOT / 'tools/analysis/multi_task.py'), run_name='__main__')
    rows = json.loads((tmp_path / 'out/multi_task.json').read_text())
    assert [row['branch_stage'] for row in rows] == [None, 0, 1, 2, 3]
    assert rows[0]['time'] == 1 and all(row['mAP'] == rows[0]['mAP'] for row in rows[:2])
    assert np.isfinite([[row[key] for key in ('mAP', 'rank1', 'mIoU', 'mA')] for row in rows]).all()
    table = capsys.readouterr().out
    assert table.strip() == format_table(rows) and '| 0, exact | ' in table


def test_benchmark_of_one_pass():
    rows = list(multi_task(QUICK))
    assert len(rows) == 4 and rows[0].name == '3 tasks in a pass, exact'
    assert rows[3].ours < rows[3].theirs  # a stage and a half in the place of four


def test_benchmark_of_inference(monkeypatch):
    monkeypatch.setattr('benchmarks.inference.find_spec', lambda name: None)
    rows = list(inference(QUICK))
    assert [row.name for row in rows] == ['inference, reid', 'inference, attribute']
    assert all(row.ours > 0 and row.theirs > 0 for row in rows)


@pytest.mark.slow
def test_benchmark_of_inference_of_the_hosts():
    pytest.importorskip('mmpose', reason='needs mmpose: bash tools/setup.sh')
    assert [row.name.split(', ')[1] for row in inference(QUICK)] == [
        'reid', 'attribute', 'pose', 'parsing', 'detection', 'person_search']

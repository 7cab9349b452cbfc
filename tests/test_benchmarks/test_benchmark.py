"""Benchmarks: ours and the peer do the same work, and what is reported is what was timed."""

import json
import os
import runpy
import sys

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from benchmarks.backbone import backbone_pair
from benchmarks.conflict import conflict
from benchmarks.contest import Goal, Options, Row
from benchmarks.data import DINORecipe, write_crops
from benchmarks.labels import sklearn_regions, teacher_maps
from benchmarks.profiling import flops_by_operator, part_of
from benchmarks.run import benchmark_names, report_of
from benchmarks.step import peer_step, step_config
from clasp_mm.datasets import LUPerson
from clasp_mm.datasets.transforms import MultiCrop, PackViews
from clasp_mm.engine import TaskConflictHook
from clasp_mm.engine.training_step import TrainingStep
from clasp_mm.pseudo_labels.hashing import hash_names
from clasp_mm.pseudo_labels.regions import find_regions, foreground_mask
from clasp_mm.utils import timing as timing_module
from clasp_mm.utils.files import write_json
from clasp_mm.utils.profiling import peak_bytes
from clasp_mm.utils.timing import interleaved
from tests.source_tree import ROOT

QUICK = Options(quick=True)


@pytest.fixture
def clock(monkeypatch):
    """A clock that only stands still, but for what the timed calls add to it."""
    now = {'wall': 0.0, 'cpu': 0.0}
    monkeypatch.setattr(timing_module.time, 'perf_counter', lambda: now['wall'])
    monkeypatch.setattr(timing_module.time, 'process_time', lambda: now['cpu'])
    return now


def test_medians_of_calls_by_turns(clock):
    order = []

    def call(name, walls):
        walls = iter(walls)

        def run():
            order.append(name)
            clock['wall'] += next(walls)
            clock['cpu'] += 0.5
        return run

    times = interleaved(dict(a=call('a', [50, 1, 9, 2, 3, 100]), b=call('b', [70, 6, 6, 5, 8, 7])),
                        repeats=5, warmup=1)
    assert (times['a'].seconds, times['b'].seconds) == (3, 6)
    assert times['a'].cpu_seconds == 0.5
    assert ''.join(order) == 'ab' + 'ba' + 'ab' + 'ba' + 'ab' + 'ba'


def test_ratio_is_of_the_two_values_and_in_the_goal_s_direction():
    cost = Row('x', '', '', 0.3, 0.4, 's', Goal(0.8, 0.7), 6).to_dict()
    assert cost['ratio'] == pytest.approx(0.75) and cost['met']
    assert (cost['images_per_second'], cost['peer_images_per_second']) == (
        pytest.approx(20), pytest.approx(15))
    speed = Row('x', '', '', 0.3, 0.6, 's', Goal(2.5, at_least=True), 6).to_dict()
    assert speed['ratio'] == pytest.approx(2) and not speed['met']


def test_unknown_names_offer_the_nearest():
    with pytest.raises(ValueError, match=r"'labells'.*did you mean 'labels'"):
        benchmark_names(['step', 'labells'])
    with pytest.raises(ValueError, match='name a benchmark'):
        benchmark_names([])
    assert benchmark_names(['data', 'step']) == ['step', 'data']
    assert benchmark_names(['all', 'data']) == ['backbone', 'step', 'labels', 'data']


@pytest.mark.parametrize(('options', 'words'), [
    (dict(threads=0), 'threads must be at least 1, got 0'),
    (dict(device='tpu'), "no device 'tpu': torch sees cpu"),
])
def test_bad_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        Options(**options)


@pytest.mark.parametrize('size', [(64, 64), (64, 32)])
def test_backbones_compute_the_same(size):
    ours, peer = backbone_pair('nano')
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(ours(images)[-1], peer(images)[-1], rtol=1e-4, atol=1e-4)


def test_dino_steps_compute_the_same():
    cfg = step_config('dino', quick=True)
    cfg.model.backbone.drop_path_rate = 0.
    ours, peer = TrainingStep(cfg, 2, QUICK.device), peer_step(cfg, 2, QUICK)
    peer.views = ours.views
    state = {name.replace('backbone.swin.', 'backbone.'): value
             for name, value in peer.model.state_dict().items()}
    missing, unexpected = ours.model.load_state_dict(state, strict=False)
    assert all('backbone.norm' in name for name in missing)  # of maps that are not put out
    assert all('relative_position_index' in name for name in unexpected)
    for _ in range(2):  # the second shows the first one's update
        torch.testing.assert_close(ours.loss(), peer.loss(), rtol=1e-4, atol=1e-4)
        ours()
        peer()


def test_clustering_finds_as_good_clusters_as_scikit_learn():
    features = teacher_maps(3)
    keys = hash_names(['a', 'b', 'c'])
    tokens = features.flatten(2).mT.contiguous()
    foreground = foreground_mask(tokens, (16, 8), 'feature', keys)
    theirs = np.array(sklearn_regions(features, foreground, clusters=2))[:, 1:]
    regions = find_regions(features, (3, 4, 5), keys, 'feature')
    for image, points in enumerate(tokens.numpy()):
        for column, k in enumerate((3, 4, 5)):
            label = regions[image, column].numpy()
            assert ((label > 0) == foreground[image].numpy()).all()
            inertia = sum(KMeans(1, n_init=1).fit(points[label == part]).inertia_
                          for part in range(1, k + 1))
            assert inertia <= 1.02 * theirs[image, column]


def test_views_of_both_recipes_look_alike(tmp_path):
    """Same number, sizes and, over many draws, the same mean colour and contrast."""
    paths = write_crops(tmp_path, 3)
    ours = LUPerson(str(tmp_path), pipeline=[MultiCrop(), PackViews()])
    recipe = DINORecipe()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    statistics = {'ours': [], 'peer': []}
    for _ in range(12):
        for index, path in enumerate(paths):
            views = [view.flip(0) / 255 for view in ours[index]['inputs']]
            others = [view * std[:, None, None] + mean[:, None, None] for view in recipe(str(path))]
            assert [v.shape for v in views] == [v.shape for v in others]
            for name, group in (('ours', views), ('peer', others)):
                statistics[name].append([
                    torch.stack([v.mean((1, 2)) for v in group]).mean(0).tolist(),
                    torch.stack([v.std((1, 2)) for v in group]).mean(0).tolist()])
    ours_mean, peer_mean = (np.mean(statistics[name], axis=0) for name in ('ours', 'peer'))
    np.testing.assert_allclose(ours_mean, peer_mean, atol=0.04)


def test_peak_counts_what_is_alive_at_once():
    def build():
        kept = torch.zeros(1000, 1000)

        def call():
            for _ in range(3):  # freed each time
                kept + 1
        return call

    assert peak_bytes(build) == pytest.approx(8e6, rel=0.01)


def test_flops_of_products_and_of_attention():
    q = torch.randn(2, 3, 8, 4)
    with torch.no_grad():
        flops = flops_by_operator(
            lambda: (torch.nn.functional.scaled_dot_product_attention(q, q, q),
                     torch.randn(5, 6) @ torch.randn(6, 7)))
    assert sum(flops.values()) == 2 * 5 * 6 * 7 + 2 * (2 * 2 * 3 * 8 * 8 * 4)


@pytest.mark.parametrize(('operator', 'part'), [
    ('aten::addmm', 'matmul'), ('aten::_softmax', 'attention'), ('aten::bmm', 'attention'),
    ('aten::roll', 'copies'), ('aten::constant_pad_nd', 'copies'),
    ('aten::native_layer_norm', 'norm'), ('aten::gelu_backward', 'elementwise'),
    ('aten::linalg_vector_norm', 'elementwise'), ('aten::_foreach_norm', 'optimizer'),
    ('aten::topk', 'other'),
])
def test_part_of_an_operator(operator, part):
    assert part_of(operator) == part


@pytest.mark.slow
@pytest.mark.parametrize('name', ['reid', 'attribute', 'pose', 'parsing', 'detection',
                                  'person_search', 'inference', 'backbone', 'step'])
def test_tool_runs_in_bfloat16(monkeypatch, tmp_path, name):
    target = tmp_path / 'speed'
    monkeypatch.setattr(sys, 'argv', [
        'benchmark.py', name, '--amp', '--quick', '--repeats', '1', '--out', str(target)])
    runpy.run_path(str(ROOT / 'tools' / 'benchmark.py'), run_name='__main__')
    report = json.loads((target / 'benchmark.json').read_text())
    assert report['options']['amp'] and report['rows']
    assert all(row['ours'] > 0 and row['theirs'] > 0 for row in report['rows'])


def run_tool(monkeypatch, target, *arguments):
    """The rows of its report by their names."""
    monkeypatch.setattr(sys, 'argv', [
        'benchmark.py', *arguments, '--quick', '--repeats', '1', '--out', str(target)])
    runpy.run_path(str(ROOT / 'tools' / 'benchmark.py'), run_name='__main__')
    assert [path.name for path in target.iterdir()] == ['benchmark.json']
    report = json.loads((target / 'benchmark.json').read_text())
    assert report['environment']['torch']
    return {row['name']: row for row in report['rows']}


def check_dino_step(row):
    """Padding tokens cost mmpretrain projections that ours saves."""
    assert row['details']['ours_gflop'] < row['details']['peer_gflop']
    assert sum(part['share'] for part in row['profile']['ours'].values()) == pytest.approx(1)


def test_tool_runs_what_is_asked_for_and_writes_the_table(monkeypatch, tmp_path, capsys):
    before = torch.get_num_threads()
    rows = run_tool(monkeypatch, tmp_path / 'speed', 'step', '--threads', '1', '--profile')
    assert torch.get_num_threads() == before
    assert list(rows) == ['CLASP step, time', 'CLASP step, memory', 'DINO step']
    assert all(row['ours'] > 0 and row['details'].get('threads', 1) == 1 for row in rows.values())
    check_dino_step(rows['DINO step'])
    assert 'CLASP step, memory' in capsys.readouterr().out


@pytest.mark.slow
def test_tool_runs_all(monkeypatch, tmp_path, capsys):
    threads = torch.get_num_threads()
    rows = run_tool(monkeypatch, tmp_path / 'speed', 'all', '--profile')
    assert torch.get_num_threads() == threads
    assert list(rows) == [
        'backbone 224x224', 'backbone 256x128', 'CLASP step, time', 'CLASP step, memory',
        'DINO step', 'clustering, feature', 'clustering, centre', 'labelling', 'multi-crop']
    assert {name: row['details']['threads'] for name, row in rows.items()} == {
        name: os.cpu_count() if 'step' in name or 'backbone' in name else 1 for name in rows}
    check_dino_step(rows['DINO step'])
    # Three regions of k = 3, four and five, beside the whole image.
    assert rows['labelling']['details']['clip_forwards_per_image'] == 13
    assert set(rows['labelling']['details']['seconds_of_parts']) == {
        'teacher', 'clustering', 'resampling'}
    assert 'multi-crop' in capsys.readouterr().out


def test_tool_prints_json_alone(monkeypatch, tmp_path, capsys):
    row = Row('x', '', '', 1., 2., 's', Goal(1), 1)
    monkeypatch.setattr('benchmarks.command.run_benchmarks', lambda *_: iter([row]))
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', 'step', '--json', '--out', str(tmp_path)])
    runpy.run_path(str(ROOT / 'tools' / 'benchmark.py'), run_name='__main__')
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / 'benchmark.json').read_text())
    assert [one['theirs'] for one in printed['rows']] == [2.]


def test_tool_fails_kindly(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', 'backbones'])
    with pytest.raises(SystemExit, match="did you mean 'backbone'"):
        runpy.run_path(str(ROOT / 'tools' / 'benchmark.py'), run_name='__main__')


def test_report_is_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / 'speed.json'
    target.write_text('before')
    row = Row('x', '', '', 1., 1., 's', Goal(1), 1, details=dict(bad=object()))
    with pytest.raises(TypeError):
        write_json(target, report_of([row], QUICK))
    assert target.read_text() == 'before'
    assert [path.name for path in tmp_path.iterdir()] == ['speed.json']


def test_the_conflict_hook_costs_its_share_of_a_look():
    row, = conflict(Options(quick=True, repeats=1))
    parts, interval = row.details['seconds_of_parts'], TaskConflictHook().interval
    assert row.theirs == parts['step'] and row.details['interval'] == interval
    assert row.ratio == pytest.approx(1 + parts['look'] / parts['step'] / interval)
    assert parts['ead'] < parts['look'] and row.details['cpu_ratio'] > 1

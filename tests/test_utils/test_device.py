"""One rule says where every tool and call computes; GPUs are told of, not there."""

import argparse
import ast
import re
import runpy
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from clasp_mm import cli
from clasp_mm.evaluation.functional.reid_distances import as_features
from clasp_mm.utils import device
from tests.source_tree import ROOT, sources

# Where MMEngine picks the device, or nothing is computed on one.
WITHOUT = {
    'train.py', 'test.py', 'quickstart.py', 'quickstart_downstream.py', 'run_ablation.py',
    'export_onnx.py', 'publish_model.py', 'compare.py', 'make_model_zoo.py',
    'make_synthetic_data.py', 'convergence.py', 'scale_check.py', 'gpu_check.py',
    *(path.name for path in (ROOT / 'tools/dataset_converters').glob('*.py'))}
TOOLS = sorted([*ROOT.glob('tools/*.py'), *ROOT.glob('tools/*/*.py')])
# Told where others compute, or built in a worker that loads data, where the CPU is the default.
TOLD = {'interleaved', 'profile_call', 'peak_bytes', 'backbone_pair', 'build_labeler', 'build_clip'}


@pytest.fixture
def gpus(monkeypatch):
    """Two of them; the one that is made torch's current."""
    current = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda which=None: f'GPU of {which}')
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda which=None: (9, 0))
    monkeypatch.setattr(torch.cuda, 'set_device', current.append)
    return current


def test_the_gpu_where_there_is_one(gpus):
    assert device.pick_device() == torch.device('cuda')
    for name in ('cpu', 'cuda', 'cuda:1', torch.device('cuda', 0)):
        assert device.pick_device(name) == torch.device(name)
    for name in ('cuda:2', 'gpu', 'cuda:x', 'meta'):
        with pytest.raises(ValueError, match=f"no device '{name}': torch sees cpu, cuda:0, cuda:1"):
            device.pick_device(name)


def test_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert device.pick_device() == torch.device('cpu')
    with pytest.raises(ValueError, match="no device 'cuda': torch sees cpu and no GPU"):
        device.pick_device('cuda')


def test_what_a_program_announces_holds_for_all_that_it_computes(gpus, monkeypatch, capsys):
    assert device.announce_device('cuda:1') == torch.device('cuda', 1) == device.pick_device()
    assert device.announce_device('cpu') == torch.device('cpu') == device.pick_device()
    monkeypatch.setenv('LOCAL_RANK', '1')
    assert device.announce_device('cuda') == torch.device('cuda', 1)
    assert gpus == [torch.device('cuda', 1)] * 2
    assert capsys.readouterr().err.splitlines() == [
        'device: cuda:1 (GPU of cuda:1)', 'device: cpu', 'device: cuda:1 (GPU of cuda:1)']


def test_precision_is_decided_in_one_place(monkeypatch):
    for amp, dtype in ((None, torch.float32), (False, torch.float32), (True, torch.bfloat16)):
        with torch.autocast('cpu'), device.precision('cpu', amp):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype, amp
    cards = {'cuda:0': (9, 0), 'cuda:1': (7, 5)}
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda which: cards[str(which)])
    made = []
    monkeypatch.setattr(torch, 'autocast', lambda kind, **how: made.append((kind, how['enabled'])))
    for card in cards:
        for amp in (None, False, True):
            device.precision(card, amp)
    assert made == [('cuda', on) for on in (True, False, True, False, False, True)]


def test_features_to_rank_go_where_the_program_computes(monkeypatch):
    monkeypatch.setattr(device, '_announced', [torch.device('meta')])
    assert as_features('query', np.ones((2, 3))).device.type == 'meta'
    assert as_features('query', np.ones((2, 3)), 'cpu').device.type == 'cpu'


def test_re_identification_touches_the_asked_device_alone(monkeypatch):
    from clasp_mm.evaluation.functional import evaluate_reid
    from clasp_mm.inferencers import gallery as reid_index
    monkeypatch.setattr(device, '_announced', [torch.device('meta')])  # where nothing can be read
    features, people, cameras = np.eye(3, dtype=np.float32), [0, 0, 1], [0, 1, 0]
    found = evaluate_reid(features[:1], features, [0], people, [0], cameras, device='cpu')
    assert found['num_valid'] == 1
    with pytest.raises(ValueError, match='1 index features are not finite'):
        reid_index.ReIDIndex(features[:1] * np.nan, ['a'])


class Fit(Exception):
    """With the device and the precision of what was to be fitted."""


@pytest.mark.parametrize('where, mapped', [('meta', torch.float64), ('cpu', torch.float32)])
def test_linear_probes_are_fitted_where_the_program_computes(where, mapped, monkeypatch):
    from clasp_mm.evaluation.probes import classes, dense, folds, linear, ridge

    def fit(features, *_):
        raise Fit(features.device.type, features.dtype)

    monkeypatch.setattr(device, '_announced', [torch.device(where)])
    monkeypatch.setattr(folds, 'fit_linear', fit)
    rows, maps = np.eye(8, dtype=np.float32), np.ones((2, 3, 2, 2), np.float32)
    kinds, fold = np.arange(8) % 2, np.arange(8) // 4
    calls = {
        lambda: linear.linear_probe_segmentation(
            maps, np.zeros((2, 4, 4), int), maps, np.zeros((2, 4, 4), int), 2): mapped,
        lambda: linear.linear_probe_attributes(
            rows, kinds[:, None], range(8), rows, kinds[:, None]): torch.float64,
        lambda: classes.linear_accuracy(rows, kinds, rows, kinds): torch.float64,
        lambda: folds.fold_classes(rows, kinds, fold, 1.): mapped,
        lambda: folds.fold_attributes(
            folds.as_rows('rows', rows), kinds[:, None], fold, 1.): torch.float64}
    for call, dtype in calls.items():
        with pytest.raises(Fit) as given:
            call()
        assert given.value.args == (where, dtype)

    monkeypatch.setattr(ridge.Ridge, 'solve', lambda self: fit(self.products))
    with pytest.raises(Fit) as given:  # its rows were added before
        dense.linear_probe_keypoints(maps, np.ones((2, 1, 3)), maps, np.ones((2, 1, 3)), (4, 4))
    assert given.value.args == (where, torch.float64)


class Parsed(Exception):
    pass


def parser_of(run, monkeypatch) -> argparse.ArgumentParser:
    def stop(parser, *_, **__):
        raise Parsed(parser)

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, 'parse_args', stop)
        patch.setattr(argparse.ArgumentParser, 'parse_known_args', stop)
        with pytest.raises(Parsed) as parsed:
            run()
    return parsed.value.args[0]


def test_every_parser_has_the_one_option(monkeypatch):
    parsers = {}
    for path in TOOLS:
        parsers[path.name] = parser_of(
            lambda path=path: runpy.run_path(str(path), run_name='__main__'), monkeypatch)
    for name in ('embed', 'search'):
        parsers[name] = parser_of(lambda name=name: cli.main([name]), monkeypatch)
    for name, parser in parsers.items():
        found = [action for action in parser._actions if '--device' in action.option_strings]
        assert bool(found) != (name in WITHOUT), name
        for action in found:
            assert action.default is None and action.choices is None, name
            assert action.help == 'cpu, cuda, cuda:1 (default: the GPU where there is one)', name


def test_no_call_has_a_device_of_its_own():
    for module, tree in sources().items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef) or node.name in TOLD:
                continue
            args = [*node.args.posonlyargs, *node.args.args]
            pairs = [*zip(args[len(args) - len(node.args.defaults):], node.args.defaults,
                          strict=True), *zip(node.args.kwonlyargs, node.args.kw_defaults,
                                             strict=True)]
            for arg, default in pairs:
                if arg.arg == 'device' and default is not None:
                    assert ast.unparse(default) == 'None', f'{module}.{node.name}'
    for path in [*TOOLS, *(ROOT / 'clasp_mm').rglob('*.py')]:
        text = path.read_text(encoding='utf-8')
        if path.name != 'device.py':
            assert not re.search(r"\.cuda\(\)|'cuda' if|current_device", text), path


BUILD_LABELER = 'clasp_mm.datasets.transforms.clip_pseudo_labeler.build_labeler'
GET_MODEL = 'clasp_mm.zoo.get_model.get_model'
BUILD_CLIP = 'clasp_mm.pseudo_labels.clip_model.build_clip'
LABELS = ['--data-root', '.', '--out', 'out', '--teacher', 'none']
RUNS = {  # tool -> arguments and what is given the device
    'demo.py': (['detection', 'a.jpg', '--config', 'c.py'],
                'clasp_mm.inferencers.inferencer.Inferencer'),
    'benchmark.py': (['backbone'], 'benchmarks.command.Options'),
    'make_pseudo_labels.py': (LABELS, BUILD_LABELER),
    'pseudo_label_report.py': (LABELS, BUILD_LABELER),
    'calibrate_reid.py': (['people', '--config', 'c.py', '--checkpoint', 'c.pth'],
                          'clasp_mm.inferencers.verification.calibrate'),
    'choose_prompt.py': (['c.pth', 'people', '--kind', 'identity'], GET_MODEL),
    'multi_task.py': (['c.pth', '--train', 'a', '--held-out', 'b'], GET_MODEL),
    'report.py': (['run', '--data', 'images'], 'clasp_mm.analysis.run.analyse_run'),
    'tsne.py': (['c.pth', 'people'], GET_MODEL),
    'expert_use.py': (['c.pth', 'people'], GET_MODEL),
    'cost.py': (['c.py'], 'clasp_mm.analysis.cost.measure_cost'),
    'train_mini_clip.py': (['out'], 'clasp_mm.mini_clip.train.train_mini_clip'),
    'ranked_lists.py': (['c.py', 'c.pth'], 'clasp_mm.analysis.ranked_lists.write_ranked_page'),
    'task_conflict.py': (['c.py', 'c.pth'], 'clasp_mm.analysis.run.write_conflict'),
    'zero_shot_attributes.py': (['a.mat', '--images', '.'], BUILD_CLIP),
    'embed': (['.', '--checkpoint', 'c.pth', '--config', 'c.py'],
              'clasp_mm.search.embed.get_model'),
    'search': (['.', 'a hat'], BUILD_CLIP),
}


class Backbone:
    """Stands for one: it is told where to go."""

    def __init__(self, stop):
        self.to = stop


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a tool up to what computes: what that was given, what was said, and the error."""
    monkeypatch.chdir(tmp_path)
    cv2.imwrite('a.png', np.zeros((8, 4, 3), np.uint8))
    (tmp_path / 'c.pth').touch()

    def call(name, *more):
        arguments, target = RUNS[name]
        given = []

        def stop(*args, **kwargs):
            given.extend([*args, *kwargs.values()])
            raise ValueError('stop')

        replacement = (lambda *_, **__: Backbone(stop)) if 'get_model' in target else stop
        monkeypatch.setattr('clasp_mm.engine.launch.load_config', lambda *_: {})
        monkeypatch.setattr('clasp_mm.analysis.choose_prompt.read_labels',
                            lambda *_: SimpleNamespace(gaps=list))
        monkeypatch.setattr('mmengine.config.Config.fromfile', lambda *_: {})
        monkeypatch.setattr('clasp_mm.datasets.attribute_files.read_attribute_file',
                            lambda *_: None)
        monkeypatch.setattr(target, replacement)
        if name.endswith('.py'):
            tool = next(path for path in TOOLS if path.name == name)
            monkeypatch.setattr(sys, 'argv', [name, *arguments, *more])
            with pytest.raises(SystemExit) as exit_:
                runpy.run_path(str(tool), run_name='__main__')
            return given, capsys.readouterr().err, exit_.value.code
        assert cli.main([name, *arguments, *more]) == 1
        err = capsys.readouterr().err
        return given, err, err.splitlines()[-1]

    return call


@pytest.mark.parametrize('name', RUNS)
def test_a_tool_computes_where_it_says(name, run, gpus):
    for more, where in (((), 'cuda:0'), (('--device', 'cuda:1'), 'cuda:1'),
                        (('--device', 'cpu'), 'cpu')):
        given, said, error = run(name, *more)
        assert 'stop' in error
        assert where in map(str, given), given
        assert said.splitlines()[0].startswith(f'device: {where}')


@pytest.mark.parametrize('name', RUNS)
def test_a_device_that_is_not_there_is_one_line(name, run, gpus):
    given, said, error = run(name, '--device', 'cuda:7')
    assert not given and 'device: ' not in said.replace(error, '')
    assert re.fullmatch(rf"(clasp )?{name}: no device 'cuda:7': torch sees cpu, cuda:0, cuda:1",
                        error.strip())


def test_the_benchmark_sets_how_float32_matrices_are_multiplied(run, gpus, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, 'set_float32_matmul_precision', asked.append)
    run('benchmark.py')
    run('benchmark.py', '--float32-precision', 'highest')
    assert asked == ['high', 'highest']


def test_every_tool_with_the_option_is_run_here():
    assert {path.name for path in TOOLS} - WITHOUT == {n for n in RUNS if n.endswith('.py')}

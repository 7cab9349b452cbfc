"""Verbs, tools and documented commands belong together; parsing imports nothing heavy."""

import argparse
import ast
import json
import re
import runpy
import shlex
import subprocess
import sys
from importlib import import_module

import pytest

from clasp_mm import cli
from clasp_mm.cli import labeler_options, options
from clasp_mm.cli.converters import Converter
from tests.documentation import PAGES
from tests.source_tree import ROOT

TOOLS = ROOT / 'tools'
VERB_ONLY = {'estimate', 'embed', 'search', 'data check', 'data arrange', 'zoo list', 'doctor',
             'install'}
# What they run stands beside the package.
TOOL_ONLY = {'analysis/scale_check.py': 'benchmarks.scale_check',
             'gpu_check.py': 'benchmarks.gpu_check.command'}
HEAVY = ('torch', 'numpy', 'mmengine', 'cv2', 'rich', 'yaml', 'scipy', 'tqdm')


def verbs(node=cli.VERBS, words=()):
    for name, inside in node.items():
        if isinstance(inside, dict):
            yield from verbs(inside, (*words, name))
        elif name:
            yield ' '.join((*words, name)), inside


MODULES = dict(verbs())


def shims():
    """Tool -> verb, or task of a converter, that its file hands to the library."""
    found = {}
    for path in sorted(TOOLS.rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'tool':
                what = node.args[0]
                what = what.args[0] if isinstance(what, ast.Call) else what
                found[path.relative_to(TOOLS).as_posix()] = what.value
    return found


def test_every_verb_has_a_tool_and_every_tool_a_verb():
    called = shims()
    files = {path.relative_to(TOOLS).as_posix() for path in TOOLS.rglob('*.py')}
    assert files == set(called) and TOOL_ONLY.items() <= called.items()
    converters = {name: task for name, task in called.items()
                  if name.startswith('dataset_converters/')}
    assert sorted(converters.values()) == sorted(options.TASKS)
    others = [verb for name, verb in called.items() if name not in {*converters, *TOOL_ONLY}]
    assert len(others) == len(set(others))
    assert set(MODULES) - set(others) == VERB_ONLY


@pytest.mark.parametrize('path', sorted(shims()))
def test_tools_are_shims(path):
    assert len((TOOLS / path).read_text().splitlines()) <= 9


PROBE = """
import contextlib, io, json, sys, time
from clasp_mm import cli
from clasp_mm.cli.converters import Converter
found = {}
for verb in json.loads(sys.argv[1]):
    text, start = io.StringIO(), time.perf_counter()
    with contextlib.redirect_stdout(text):
        try:
            code = cli.main([*verb.split(), '--help'])
        except SystemExit as end:
            code = end.code
    found[verb] = code, time.perf_counter() - start, text.getvalue()
print(json.dumps([found, [name for name in json.loads(sys.argv[2]) if name in sys.modules]]))
"""


def test_help_of_every_verb_names_its_options_and_imports_nothing_heavy():
    asked = ['', 'data', 'label', 'analyse', 'zoo', *MODULES]
    done = subprocess.run([sys.executable, '-c', PROBE, json.dumps(asked), json.dumps(HEAVY)],
                          capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    found, heavy = json.loads(done.stdout)
    assert not heavy
    for verb, (code, seconds, text) in found.items():
        assert code == 0 and seconds < 1, verb
        if verb in MODULES:
            parser = cli.parser_of(import_module(f'clasp_mm.cli.{MODULES[verb]}'), f'clasp {verb}')
            assert text.startswith(f'usage: clasp {verb}'), verb
            for action in parser._actions:
                assert all(name in text for name in action.option_strings[-1:]), (verb, action)
                assert action.help, (verb, action)
        else:
            assert 'VERB --help' in text
    assert all(name in found[''][2] for name in ('quickstart', 'data', 'doctor'))


def test_one_word_for_one_thing():
    """Of the options; --work-dir is the word of OpenMMLab's own tools."""
    for verb, name in MODULES.items():
        parser = cli.parser_of(import_module(f'clasp_mm.cli.{name}'), verb)
        known = {name: action for action in parser._actions for name in action.option_strings}
        assert not {'--out-dir', '--pretrained', '--weights', '--output'} & set(known), verb
        assert '--work-dir' not in known or verb in ('train', 'test', 'estimate')
        assert '--out' not in known or known['--out'].metavar == 'DIR', verb  # always a folder
        assert '--json' not in known or known['--json'].nargs == 0, verb
        if '--size' in known:
            assert known['--size'].nargs == 2 and known['--size'].metavar == ('H', 'W'), verb


def test_help_of_every_module_is_its_own():
    told = [import_module(f'clasp_mm.cli.{name}').__doc__.splitlines()[0]
            for name in MODULES.values()]
    assert len(set(told)) == len(told) and not any('`' in line for line in told)


def test_literals_are_the_library_s():
    """They stand in the command line because it imports no torch."""
    from clasp_mm.models.layers import TASKS
    from clasp_mm.pseudo_labels.labels import LabelSettings
    from clasp_mm.pseudo_labels.regions import FOREGROUND_RULES
    from clasp_mm.pseudo_labels.resample import FITS
    from clasp_mm.zoo.index import TASKS as TITLES
    assert options.PROMPTS == TASKS and {*options.TASKS, 'pretrain'} == set(TITLES)
    parser = argparse.ArgumentParser()
    labeler_options.add_labeler_arguments(parser)
    given = parser.parse_args(['--data-root', 'a', '--out', 'b', '--teacher', 'none'])
    default = LabelSettings()
    for option, name in dict(clusters='cluster_numbers').items():
        assert getattr(given, option) == getattr(default, name)
    for name in ('image_size', 'stage', 'foreground', 'position_weight', 'min_foreground',
                 'min_person_cosine', 'region', 'fit', 'fill', 'logit_scale'):
        assert getattr(given, name) == getattr(default, name), name
    assert [side * given.scale for side in given.image_size] == list(default.input_size)
    choices = {action.dest: action.choices for action in parser._actions}
    assert choices['foreground'] == FOREGROUND_RULES and set(choices['fit']) == set(FITS)


@pytest.mark.parametrize('error, said', [
    (ValueError('no such thing'), 'no such thing'), (FileNotFoundError('gone'), 'gone'),
    (NotImplementedError('not of this host'), 'not of this host'), (RuntimeError(), 'RuntimeError'),
    (ImportError('no onnx'), 'no onnx')])
def test_a_failure_is_one_line_and_1(error, said, monkeypatch, capsys):
    def fail(*_):
        raise error
    monkeypatch.setattr('clasp_mm.zoo.compare.compare', fail)
    assert cli.main(['compare', 'a']) == 1
    assert capsys.readouterr().err == f'clasp compare: {said}\n'
    monkeypatch.setattr(sys, 'argv', ['tools/compare.py', 'a'])
    with pytest.raises(SystemExit) as end:
        cli.tool('compare')
    assert end.value.code == f'compare.py: {said}'


def test_what_is_no_failure_of_the_user_keeps_its_traceback(monkeypatch):
    from clasp_mm.cli.options import work

    def fail(*_):
        with work():
            raise RuntimeError('shapes differ')
    monkeypatch.setattr('clasp_mm.zoo.compare.compare', fail)
    with pytest.raises(RuntimeError, match='shapes differ'):
        cli.main(['compare', 'a'])


def test_an_interruption_is_130(monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr('clasp_mm.zoo.compare.compare', stop)
    assert cli.main(['compare', 'a']) == 130


@pytest.mark.parametrize('words, said', [
    (['pubish'], "no verb 'pubish'; did you mean 'publish'? There are quickstart, train"),
    (['data', 'chek', 'reid'], "clasp data: no verb 'chek'; did you mean 'check'?"),
    (['data', 'check', 'reid'], 'clasp data check: error: the following arguments are required'),
    (['quickstart', '--seeds', '0'], 'clasp quickstart: error: --seeds must be at least 1, got 0'),
    (['search', 'f', 'red', '--workers', '-1'], '--workers must be at least 0, got -1'),
    (['analyse', 'experts', 'm', 'f', '--images', '-3'], '--images must be at least 1, got -3'),
    (['label'], ''), ([], '')])
def test_a_wrong_command_line_is_2(words, said, capsys):
    if not said:  # the help
        assert cli.main(words) == 0
        return
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2 and said in capsys.readouterr().err


def test_a_check_fails_where_something_is_wrong(tmp_path, capsys):
    assert cli.main(['data', 'check', 'reid', str(tmp_path)]) == 1
    assert 'PROBLEM' in capsys.readouterr().out
    assert cli.main(['data', 'check', 'reid', str(tmp_path / 'none')]) == 1
    assert f'clasp data check: no folder {tmp_path / "none"}' in capsys.readouterr().err


def test_models_of_the_zoo_are_listed(capsys):
    assert cli.main(['zoo', 'list', 'reid*nano*', '--json']) == 0
    names = json.loads(capsys.readouterr().out)
    assert 'reid_transreid_pcmoe-swin-nano_1xb32_synthetic-64x32' in names
    assert all(name.startswith('reid') and 'nano' in name for name in names)
    assert cli.main(['zoo', 'list', '--task', 'pose']) == 0
    names = capsys.readouterr().out.split()
    assert 'pose_pcmoe-swin-nano_1xb32_synthetic-64x48' in names
    assert not any(name.startswith('reid') for name in names)
    assert cli.main(['zoo', 'list', 'nowhere']) == 1
    assert 'no such model (nowhere)' in capsys.readouterr().err


def test_benchmarks_need_a_clone(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(options, '__file__', str(tmp_path / 'lib/clasp_mm/cli/options.py'))
    said = f'clone of its repository alone; this package is at {tmp_path / "lib"}'
    assert cli.main(['benchmark', 'backbone']) == 1
    assert said in capsys.readouterr().err
    for path in TOOL_ONLY:
        monkeypatch.setattr(sys, 'argv', [path])
        with pytest.raises(SystemExit, match=re.escape(said)) as end:
            runpy.run_path(str(TOOLS / path), run_name='__main__')
        assert str(end.value.code).startswith(f'{path.rpartition("/")[2]}: benchmarks/ lies')


# Documented commands

def documented():
    """Commands of READMEs, pages and helps: place, text, whether it has a line of its own."""
    texts = {path.relative_to(ROOT).as_posix(): path.read_text() for path in (
        *PAGES, *sorted((ROOT / 'configs').rglob('README.md')))}
    for verb, name in MODULES.items():
        module = import_module(f'clasp_mm.cli.{name}')
        texts[f'clasp {verb}'] = getattr(module, 'EPILOG', '')
    for place, text in texts.items():
        text = text.replace('\\\n', ' ')
        for line in re.findall(r'(?m)^ *(?:\$ )?'
                               r'((?:[A-Z_]+=\S+ )?(?:clasp|python tools/\S+\.py) .*)$|'
                               r'`((?:clasp|python tools/\S+\.py) [^`]*)`', text):
            yield place, line[0] or line[1], bool(line[0])


def words_of(command):
    words = shlex.split(command, comments=True)
    while re.match('[A-Z_]+=', words[0]):
        words = words[1:]
    return words


@pytest.mark.parametrize('place, command, whole', sorted(set(documented())))
def test_documented_commands_are_accepted(place, command, whole):
    words = words_of(command)
    if words[0] == 'python':
        what = shims().get(words[1].removeprefix('tools/'))
        verb = (Converter(what) if 'dataset_converters' in words[1]
                else import_module(what if '.' in what else f'clasp_mm.cli.{MODULES[what]}'))
        words = words[2:]
    else:
        words, node = words[1:], cli.VERBS
        while isinstance(node, dict):
            if not words or words[0] in ('--help', '--version'):
                return
            assert words[0] in node, command
            node = node[words.pop(0)]
        verb = import_module(f'clasp_mm.cli.{node}')
    parser = cli.parser_of(verb, 'x')
    if whole and '...' not in words:
        parser.parse_args(words)
    known = {name for action in parser._actions for name in action.option_strings}
    given = [word.split('=')[0] for word in words if word.startswith('--')]
    assert not [name for name in given if name not in known], command

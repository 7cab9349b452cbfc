"""Every call of the library that could run what a file holds, and why it does not."""

import ast
import re

import pytest

from clasp_mm.cli import VERBS
from clasp_mm.registry import MODELS
from tests.source_tree import ROOT

_NAMED = 'a config that the user names, or of a run that he names'
_OWN = "the library's own config, or one it made of that"
KNOWN = {
    ('compat/checkpoints', 'torch.load'): 'weights_only, or an unpickler of a fixed list',
    ('compat/checkpoints', 'pickle.Unpickler'): 'looks names up in a fixed list',
    ('datasets/attribute_pickle', 'pickle.Unpickler'): 'looks names up in a fixed list',
    ('utils/files', 'yaml.load'): 'the safe loader',
    ('datasets/coco_keypoints', 'mmengine.fileio.load'): 'of .json alone, as it checks before',
    ('export/run', 'torch.export.load'): 'a program, by design: SECURITY.md',
    ('zoo/config', 'Config.fromfile'): f'open_config: {_NAMED}; entry_config: {_OWN}',
    **{(file, 'Config.fromfile'): _NAMED for file in (
        'analysis/run', 'engine/launch', 'experiments/ablation/score',
        'experiments/ablation/tables', 'export/write', 'inferencers/loading',
        'zoo/publish')},
    **{(file, 'Config.fromfile'): _OWN for file in (
        'experiments/ablation/run', 'experiments/downstream', 'experiments/quickstart/run',
        'zoo/pages')},
    **{(file, 'Config.fromstring'): _OWN for file in (
        'experiments/ablation/tables', 'experiments/downstream')},
    **{(file, 'importlib.import_module'): 'a module that the library names' for file in (
        '__init__', 'cli/__init__', 'cli/options', 'cli/doctor', 'compat/__init__',
        'compat/switch', 'engine/config_check', 'engine/launch', 'inferencers/inferencer')},
    ('zoo/config', 'importlib.import_module'): 'of clasp_mm or a host, as it checks',
    ('export/write', '__import__'): 'a module that the library names',
}
_CALLS = {'mmengine.load', 'mmengine.fileio.load', 'mmengine.fileio.io.load', 'pickle.load',
          'pickle.loads', 'pickle.Unpickler', 'torch.load', 'torch.jit.load', 'torch.hub.load',
          'torch.export.load', 'marshal.loads', 'marshal.load', 'shelve.open', 'joblib.load',
          'eval', 'exec', '__import__', 'builtins.eval', 'builtins.exec', 'runpy.run_path',
          'os.system', 'importlib.import_module', 'Config.fromfile', 'Config.fromstring',
          'mmengine.runner.load_checkpoint', 'mmengine.runner.checkpoint.load_checkpoint',
          'mmengine.runner.checkpoint._load_checkpoint'}


def calls(tree):
    """Calls and base classes that :data:`_CALLS` names, whatever they are imported as."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({alias.asname or alias.name.split('.')[0]:
                          alias.name if alias.asname else alias.name.split('.')[0]
                          for alias in node.names})
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.update({alias.asname or alias.name: f'{node.module}.{alias.name}'
                          for alias in node.names})
    for node in ast.walk(tree):
        called = [node.func] if isinstance(node, ast.Call) else (
            node.bases if isinstance(node, ast.ClassDef) else [])
        for func in called:
            first, _, rest = ast.unparse(func).partition('.')
            name = '.'.join(filter(None, (names.get(first, first), rest)))
            if name.endswith(('Config.fromfile', 'Config.fromstring')):
                name = '.'.join(name.split('.')[-2:])
            if name in ('numpy.load', 'np.load'):
                picky = {word.arg: word.value for word in node.keywords}.get('allow_pickle')
                if picky is not None and not (isinstance(picky, ast.Constant)
                                              and picky.value is False):
                    yield name
            elif name in _CALLS or (name.startswith('yaml.') and 'load' in name):
                yield name


@pytest.mark.parametrize('text, found', [
    ('import yaml\nyaml.unsafe_load(x)', ['yaml.unsafe_load']),
    ('from mmengine.fileio import load as get\nget(x)', ['mmengine.fileio.load']),
    ('import mmengine\nmmengine.load(x)', ['mmengine.load']),
    ('import numpy as np\nnp.load(x)\nnp.load(x, allow_pickle=False)', []),
    ('import numpy as np\nnp.load(x, allow_pickle=True)', ['numpy.load']),
    ('import numpy as np\nnp.load(x, allow_pickle=y)', ['numpy.load']),
    ('from mmengine import Config\nConfig.fromfile(x)', ['Config.fromfile']),
    ('from pickle import Unpickler\nclass A(Unpickler): pass', ['pickle.Unpickler']),
    ('model.eval()\neval(x)', ['eval'])])
def test_calls_are_seen(text, found):
    assert list(calls(ast.parse(text))) == found


def test_every_call_that_could_run_a_file_is_known():
    found = set()
    for folder in ('clasp_mm', 'tools'):
        for path in sorted((ROOT / folder).rglob('*.py')):
            place = path.relative_to(ROOT / folder).with_suffix('').as_posix()
            place = place if folder == 'clasp_mm' else f'tools/{place}'
            found |= {(place, name) for name in calls(ast.parse(path.read_text('utf-8')))}
    assert found == set(KNOWN)


def test_what_the_page_names_is_there():
    """Files, types of clasp_mm and commands that SECURITY.md names."""
    text = (ROOT / 'SECURITY.md').read_text('utf-8')
    paths = re.findall(r'\b(?:tools|tests)/[\w/.]*\w', text)
    types = re.findall(r'`(clasp_mm\.\w+)`', text)
    commands = re.findall(r'`clasp (\w+)`', text)
    assert 'tools/train.py' in paths and {'clasp_mm.PCMoESwin', 'clasp_mm.SemanticSwin'} <= {*types}
    assert not [path for path in paths if not (ROOT / path).exists()]
    assert not [name for name in types if MODELS.get(name) is None]
    assert commands and not [name for name in commands if name not in VERBS]

import ast
import re
import subprocess
import sys
import textwrap

import pytest

from tests.source_tree import ROOT, Import, imports_of, sources

# What each room may import, beside itself: the arrows of the architecture, one way only.
BOTTOM = {'version', 'registry', 'compat', 'utils'}
FREE = {'models.layers', 'pseudo_labels', 'evaluation.functional'}
DATA = BOTTOM | FREE | {'synthetic', 'models', 'datasets', 'visualization'}
RUNS = DATA | {'evaluation', 'engine'}
ALLOWED = {
    'version': set(),
    'registry': set(),
    'compat': set(),
    'utils': {'compat'},
    'models.layers': {'compat', 'utils'},
    'evaluation.functional': {'compat', 'utils'},
    'pseudo_labels': {'compat', 'utils'},
    'models': BOTTOM | FREE,
    'datasets': BOTTOM | FREE,
    'visualization': BOTTOM | FREE,
    'synthetic': {'utils', 'pseudo_labels', 'datasets'},
    'evaluation': DATA - {'visualization'},
    'mini_clip': {'utils', 'pseudo_labels', 'synthetic'},
    'engine': DATA - {'synthetic'} | {'evaluation'},
    'labelling': DATA | {'evaluation'},
    'zoo': BOTTOM | FREE | {'models', 'datasets', 'engine'},
    'inferencers': RUNS - {'engine', 'synthetic'} | {'zoo'},
    'search': RUNS | {'zoo', 'labelling'},
    'export': BOTTOM | FREE | {'models', 'datasets', 'zoo', 'inferencers'},
    'analysis': RUNS | {'zoo', 'inferencers'},
    'experiments': RUNS | {'zoo', 'labelling', 'mini_clip', 'analysis'},
    'apis': RUNS | {'zoo', 'inferencers', 'export'},
    'cli': RUNS | {'zoo', 'inferencers', 'export', 'search', 'labelling', 'mini_clip', 'analysis',
                   'experiments'},
    '__main__': {'cli'},
    '': {'version', 'compat'},
}
DOWNSTREAM_HOSTS = {'mmdet', 'mmpose', 'mmseg'}
# Subclass a host's classes; a config names them in custom_imports, nothing else imports them.
# compat's are imported by mmpose, in the place of what is missing.
NEED_A_HOST = ('clasp_mm.compat.coco_eval',
               'clasp_mm.compat.stand_ins', 'clasp_mm.models.detection',
               'clasp_mm.models.parsing', 'clasp_mm.models.person_search',
               'clasp_mm.datasets.citypersons', 'clasp_mm.datasets.coco_boxes',
               'clasp_mm.datasets.coco_keypoints', 'clasp_mm.datasets.lip',
               'clasp_mm.datasets.person_search', 'clasp_mm.datasets.pose_draws')


def room(module: str) -> str:
    inside = module.removeprefix('clasp_mm').lstrip('.')
    for name in FREE:
        if inside == name or inside.startswith(f'{name}.'):
            return name
    return inside.split('.')[0]


@pytest.fixture(scope='module')
def imports() -> list[Import]:
    return [found for module, tree in sources().items() for found in imports_of(module, tree)]


def test_imports_run_one_way(imports):
    modules = set(sources())
    wrong = [f'{i.importer} imports {i.name}' for i in imports
             if i.name in modules and i.name != 'clasp_mm'
             and room(i.name) not in ALLOWED[room(i.importer)] | {room(i.importer)}]
    assert not wrong, '\n'.join(wrong)


def test_nothing_private_is_imported_across_files(imports):
    wrong = [f'{i.importer} imports {i.name}' for i in imports
             if re.match(r'clasp_mm\.(.*\.)?_[a-zA-Z]\w*$', i.name)]
    assert not wrong, '\n'.join(wrong)


def test_private_names_of_torch_are_in_two_files(imports):
    private = r'torch(\.\w+)*\._[a-zA-Z]\w*'
    users = {i.importer for i in imports if re.match(private, i.name)}
    users |= {module for module, tree in sources().items() for node in ast.walk(tree)
              if isinstance(node, ast.Attribute) and re.fullmatch(private, ast.unparse(node))
              and 'torch.ops.torchvision' not in ast.unparse(node)}
    assert users == {'clasp_mm.compat.private_torch', 'clasp_mm.models.layers.cpu'}


def test_every_room_has_its_rule():
    assert {room(module) for module in sources()} <= set(ALLOWED)


def test_the_picture_of_the_rooms_shows_them_all():
    picture = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8').split('```')[3]
    shown = {name.strip() for line in picture.splitlines()
             for name in line[:54].split('·') if name.strip()}
    assert shown == set(ALLOWED) - {'', '__main__'}


def test_framework_free_rooms_import_no_framework(imports):
    allowed = {'torch', 'numpy', 'clasp_mm', *sys.stdlib_module_names}
    wrong = [f'{i.importer} imports {i.name}' for i in imports
             if room(i.importer) in FREE and i.top_level and i.name.split('.')[0] not in allowed]
    assert not wrong, '\n'.join(wrong)
    lazily = {i.name.split('.')[0] for i in imports
              if room(i.importer) in FREE and not i.top_level} - allowed
    assert lazily <= {'open_clip'}


def test_what_needs_a_host_is_imported_only_by_its_own(imports):
    wrong = [f'{i.importer} imports {i.name}' for i in imports if i.top_level
             and i.name.startswith(NEED_A_HOST) and not i.importer.startswith(NEED_A_HOST)]
    assert not wrong, '\n'.join(wrong)


def test_nobody_imports_what_stands_beside_the_package(imports):
    wrong = [i for i in imports if i.name.split('.')[0] in (
        'benchmarks', 'tools', 'configs', 'tests')]
    assert not wrong


def test_a_wrong_import_would_be_seen():
    tree = ast.parse('def f():\n    from clasp_mm.datasets import LUPerson\n'
                     'from ..apis import get_model\n')
    found = {(i.name, i.top_level) for i in imports_of('clasp_mm.models.heads.x', tree)}
    assert ('clasp_mm.datasets', False) in found
    assert ('clasp_mm.models.apis', True) in found  # two dots: the parent of heads


# Runs in a fresh interpreter: what importing every module does beyond importing.
PROBE = textwrap.dedent('''
    import importlib, json, sys
    blocked, modules = json.loads(sys.argv[1])
    for name in blocked:
        sys.modules[name] = None
    # The hosts may do as they like when they are imported; we may not.
    import cv2, lmdb, matplotlib.pyplot, mmengine.runner, mmpretrain.models, rich.console
    import scipy.stats, sklearn.cluster, torch, torchvision, tqdm, open_clip
    torch.rand(1)
    events = []
    def watch(event, args):
        if event == 'open':
            path, mode, flags = args
            writes = isinstance(mode, str) and set(mode) & set('wax+')
            # what the import system does itself: read sources, write byte code
            if writes or (isinstance(path, str) and not path.endswith(('.py', '.pyc', '.so'))
                          and mode == 'r'):
                events.append(f'open {path} {mode}')
        elif event.startswith(('socket.', 'subprocess.', 'os.mkdir', 'os.remove', 'os.rename',
                               'shutil.', 'urllib.', 'os.system')):
            events.append(event)
    sys.addaudithook(watch)
    generator = torch.get_rng_state().clone()
    grad, dtype, threads = torch.is_grad_enabled(), torch.get_default_dtype(), cv2.getNumThreads()
    for module in modules:
        importlib.import_module(module)
    assert not torch.cuda.is_initialized(), 'CUDA was initialised'
    assert torch.equal(generator, torch.get_rng_state()), 'random numbers were drawn'
    assert (grad, dtype, threads) == (
        torch.is_grad_enabled(), torch.get_default_dtype(), cv2.getNumThreads()), 'global state'
    print(json.dumps(events))
''')


def test_importing_touches_nothing_and_needs_no_downstream_host():
    import json
    modules = sorted(module for module in sources() if not module.endswith('__main__')
                     and not module.startswith(NEED_A_HOST))
    done = subprocess.run(
        [sys.executable, '-B', '-W', 'ignore', '-c', PROBE,
         json.dumps([sorted(DOWNSTREAM_HOSTS), modules])],
        capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == []

import importlib
import json
import pkgutil
import re
import runpy
import subprocess
import sys
import textwrap
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from clasp_mm import compat
from clasp_mm.compat import switch
from clasp_mm.compat.operators import OPERATORS
from tests.lite import link_lite
from tests.source_tree import ROOT


def fresh(code, *folders):
    """What ``code`` prints, as JSON, in a new interpreter; ``folders`` come first in its path."""
    path = ''.join(f'sys.path.insert(0, {str(folder)!r})\n' for folder in (*folders, ROOT))
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c',
                           f'import json, sys\n{path}{textwrap.dedent(code)}'],
                          capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stderr + done.stdout


@pytest.fixture(scope='module')
def lite(tmp_path_factory):
    """A folder with mmcv as mmcv-lite brings it: without the compiled module."""
    pytest.importorskip('mmcv')
    return link_lite(tmp_path_factory.mktemp('lite'))


def test_importing_clasp_mm_imports_nothing_heavy():
    found, _ = fresh('''
        before = set(sys.modules)
        import clasp_mm
        print(json.dumps(sorted({name.split('.')[0] for name in set(sys.modules) - before}
                                - set(sys.stdlib_module_names))))
    ''')
    assert found == ['clasp_mm']


def test_ours_serve_where_nothing_is_compiled(lite):
    (marker, full, in_use, compiler, kept), _ = fresh('''
        import clasp_mm
        from mmengine.utils.dl_utils import mmcv_full_available
        full = mmcv_full_available()
        import mmcv._ext, mmcv.ops, torch
        from mmcv.utils import collect_env
        from clasp_mm.compat import operators_in_use
        boxes, scores = torch.tensor([[0., 0, 9, 9], [0, 0, 9, 8]]), torch.tensor([0.5, 0.6])
        print(json.dumps([
            mmcv._ext.clasp_mm_operators, full, operators_in_use(),
            collect_env()['MMCV Compiler'], mmcv.ops.nms(boxes, scores, 0.5)[1].tolist()]))
    ''', lite)
    assert marker and full and in_use == "clasp_mm's" and kept == [1]
    assert compiler == "none: clasp_mm's operators, by torch and torchvision"


def test_a_compiled_mmcv_is_used_untouched():
    extension = pytest.importorskip('mmcv._ext')
    if hasattr(extension, 'clasp_mm_operators'):
        pytest.skip('there is no compiled mmcv')
    assert compat.operators_in_use() == 'compiled mmcv'
    spec = PathFinder.find_spec('mmcv._ext', sys.modules['mmcv'].__path__)
    assert type(extension.__loader__) is type(extension.__spec__.loader) is type(spec.loader)
    assert extension.__file__ == spec.origin


def broken(root):
    """A compiled module that no torch can load."""
    path = root / 'mmcv' / f'_ext{EXTENSION_SUFFIXES[0]}'
    path.write_bytes(b'not of this torch')
    return path


def test_ours_stand_in_for_one_compiled_for_another_torch(lite):
    path = broken(lite)
    try:
        (in_use, full, file), said = fresh('''
            import clasp_mm
            from mmengine.utils.dl_utils import mmcv_full_available
            import mmcv.ops
            from clasp_mm.compat import operators_in_use
            print(json.dumps([operators_in_use(), mmcv_full_available(),
                              sys.modules['mmcv._ext'].__file__]))
        ''', lite)
    finally:
        path.unlink()
    assert in_use == "clasp_mm's" and full and file.endswith('mmcv_ext.py')
    assert f'{path} cannot be loaded (' in said and "clasp_mm's operators are used instead" in said


def test_files_serve_programs_that_never_import_clasp_mm(tmp_path):
    link_lite(tmp_path)
    record = tmp_path / 'mmcv_lite-2.1.0.dist-info' / 'RECORD'
    record.parent.mkdir()
    record.write_text('mmcv/__init__.py,sha256=x,1\n')
    shared = tmp_path / 'shared'  # as uv links files into several environments
    shared.hardlink_to(record)
    for _ in range(2):  # a second time changes nothing
        written = compat.install_operators(tmp_path)
        assert [path.relative_to(tmp_path).as_posix() for path in written] == [
            'mmcv/_ext.py', *(f'xtcocotools/{name}.py'
                              for name in ('__init__', 'coco', 'cocoeval', 'mask'))]
        lines = record.read_text().splitlines()
        assert len(lines) == 2 and lines[1].startswith('mmcv/_ext.py,sha256=')
    assert shared.read_text() == 'mmcv/__init__.py,sha256=x,1\n'
    (before, in_use, evaluation), _ = fresh('''
        import mmcv.ops
        before = sys.modules['mmcv._ext'].__file__
        from mmengine.utils.dl_utils import mmcv_full_available
        import xtcocotools.coco, xtcocotools.cocoeval, xtcocotools.mask
        from clasp_mm.compat import operators_in_use
        assert mmcv_full_available()
        print(json.dumps([before, operators_in_use(), xtcocotools.clasp_mm_evaluation]))
    ''', tmp_path)
    assert before == str(written[0]) and in_use == "clasp_mm's" and evaluation


def test_nothing_is_written_over_what_is_installed(tmp_path):
    link_lite(tmp_path)
    (tmp_path / 'xtcocotools').mkdir()
    (tmp_path / 'xtcocotools' / '__init__.py').write_text('__author__ = "others"\n')
    path = broken(tmp_path)
    with pytest.raises(RuntimeError, match=r'cannot be loaded \(ImportError.*pip uninstall mmcv'):
        compat.install_operators(tmp_path)
    path.unlink()
    extension = find_spec('mmcv._ext')
    if extension.origin.endswith('.py'):
        pytest.skip('there is no compiled mmcv')
    path.symlink_to(extension.origin)
    assert compat.install_operators(tmp_path) == []


def test_mmcv_and_mmcv_lite_in_one_folder(tmp_path):
    for name in ('mmcv', 'mmcv-2.1.0.dist-info', 'mmcv_lite-2.1.0.dist-info'):
        (tmp_path / name).mkdir()
    (tmp_path / 'mmcv' / '__init__.py').touch()
    with pytest.warns(UserWarning, match=r'mmcv and mmcv-lite are both .* then install one'):
        assert compat.install_operators(tmp_path)[0] == tmp_path / 'mmcv' / '_ext.py'


def test_no_mmcv_at_all(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no mmcv in .*mmcv-lite'):
        compat.install_operators(tmp_path)


@pytest.fixture
def no_xtcocotools(monkeypatch):
    pytest.importorskip('pycocotools')
    others = PathFinder.find_spec
    monkeypatch.setattr(PathFinder, 'find_spec', lambda name, path=None, target=None: (
        None if name == 'xtcocotools' else others(name, path, target)))

    def loaded():
        return [name for name in sys.modules if name.split('.')[0] == 'xtcocotools']

    installed = {name: sys.modules.pop(name) for name in loaded()}
    yield
    for name in loaded():
        del sys.modules[name]
    sys.modules.update(installed)


def test_xtcocotools_is_served_where_it_is_not_installed(no_xtcocotools):
    coco, cocoeval, mask = (importlib.import_module(f'xtcocotools.{name}')
                            for name in ('coco', 'cocoeval', 'mask'))
    assert coco.COCO.__module__ == cocoeval.COCOeval.__module__ == 'clasp_mm.compat.coco_eval'
    diagonal = np.asfortranarray(np.eye(3, dtype=np.uint8))
    assert (mask.decode(mask.encode(diagonal)) == diagonal).all()


def test_an_unserved_operator_says_who_asks_and_what_to_do(ours):
    import torch
    from mmcv.ops import deform_roi_pool, roi_pool
    box = torch.tensor([[0.0, 0, 0, 3, 3]])
    with pytest.raises(NotImplementedError, match=r'^deform_roi_pool_forward of mmcv\.ops, which '
                       r'DeformRoIPool \(the dpool .*pip install --no-build-isolation mmcv==2'):
        deform_roi_pool(torch.zeros(1, 1, 4, 4), box, torch.zeros(0), (2, 2))
    with pytest.raises(NotImplementedError, match='RoIPool'):
        roi_pool(torch.zeros(1, 1, 4, 4), box, 2)


@pytest.fixture
def in_use(monkeypatch):
    return lambda name: monkeypatch.setattr(switch, 'operators_in_use', lambda: name)


@pytest.mark.parametrize('config, kind', [
    ('dcn/faster-rcnn_r50_fpn_dpool_1x_coco', 'DeformRoIPoolPack'),
    ('dcnv2/faster-rcnn_r50_fpn_mdpool_1x_coco', 'ModulatedDeformRoIPoolPack'),
    ('faster_rcnn/faster-rcnn_r50_fpn_1x_coco', None),
    ('dcnv2/faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco', None)])
def test_a_config_that_needs_an_unserved_operator_is_refused(in_use, config, kind):
    from mmengine.config import Config
    mmdet = pytest.importorskip('mmdet')
    cfg = Config.fromfile(Path(mmdet.__file__).parent / '.mim' / 'configs' / f'{config}.py')
    in_use('compiled mmcv')
    compat.check_operators(cfg)
    in_use("clasp_mm's")
    if kind is None:
        compat.check_operators(cfg)
    else:
        with pytest.raises(NotImplementedError, match=f"^type='{kind}' in the config: deform_roi_"):
            compat.check_operators(cfg)


def test_types_are_found_wherever_a_config_has_them(in_use):
    in_use("clasp_mm's")
    with pytest.raises(NotImplementedError, match="'MMSyncBN'"):
        compat.check_operators(dict(a=[dict(b=(dict(type='mmcv.MMSyncBN'),))], type=dict))
    compat.check_operators(dict(a=[dict(type='SyncBN')], b='RoIPool', type=None))


def test_every_name_that_mmcv_asks_for_is_there():
    mmcv = find_spec('mmcv')
    if mmcv is None:
        pytest.skip('needs mmcv or mmcv-lite')
    asked = set()
    for path in (Path(mmcv.origin).parent / 'ops').glob('*.py'):
        for names in re.findall(r"load_ext\(\s*'_ext',\s*\[([^]]*)\]", path.read_text('utf-8')):
            asked |= set(re.findall(r"'(\w+)'", names))
    own = runpy.run_path(str(switch.STAND_INS / 'mmcv_ext.py'))
    assert set(OPERATORS) <= asked and len(asked) == 112 and set(OPERATORS) <= set(own)
    for name in asked - set(OPERATORS):
        with pytest.raises(NotImplementedError, match=f'^{name} of mmcv.ops, which '):
            own['__getattr__'](name)()
    with pytest.raises(AttributeError):
        own['__getattr__']('__path__')


def test_pkgutil_answers_mmengine_on_python_3_14(monkeypatch):
    monkeypatch.delattr(pkgutil, 'find_loader', raising=False)
    compat.switch_on()
    from mmengine.utils.dl_utils import mmcv_full_available
    assert mmcv_full_available()
    assert pkgutil.find_loader('json').name == 'json' and pkgutil.find_loader('no_such') is None
    with pytest.raises(ImportError):
        pkgutil.find_loader('no_such.module')
    assert pkgutil.find_loader is switch._find_loader


class OneElement(np.ndarray):
    """An array under numpy 2.4's rules."""

    def __int__(self):
        raise TypeError('only 0-dimensional arrays can be converted to Python scalars')


def test_mmpose_draws_keypoints_under_numpy_2_4():
    module = pytest.importorskip('mmpose.visualization.opencv_backend_visualizer')
    visualizer = module.OpencvBackendVisualizer(backend='opencv')
    visualizer.set_image(np.zeros((9, 9, 3), np.uint8))
    radius = np.array([2]).view(OneElement)
    visualizer.draw_circles(np.array([4, 4]), radius=radius, face_colors=(255, 0, 0))
    assert visualizer.get_image()[4, 2:7, 0].tolist() == [255] * 5
    assert not visualizer.get_image()[0].any()


def test_mmengines_checkpoints_are_read_once_clasp_mm_is_imported(tmp_path):
    (before, mean, *loaders), _ = fresh(f'''
        import clasp_mm
        before = 'mmengine' in sys.modules
        import mmengine.runner.checkpoint as module
        from mmengine.logging import HistoryBuffer
        import torch
        path = {str(tmp_path / 'c.pth')!r}
        torch.save(dict(hub=HistoryBuffer([1.0], [1])), path)
        mean = torch.load(path, weights_only=True)['hub'].mean()
        print(json.dumps([before, mean, type(module.__loader__).__name__,
                          type(module.__spec__.loader).__name__]))
    ''')
    assert not before and mean == 1 and loaders == ['SourceFileLoader'] * 2


def test_what_is_imported_already_is_mended_at_once(monkeypatch):
    importlib.import_module('mmengine.runner.checkpoint')
    called = []
    for name in switch._MENDS.values():
        monkeypatch.setattr(compat, name, lambda name=name: called.append(name), raising=False)
    monkeypatch.setattr(sys, 'meta_path', [finder for finder in sys.meta_path
                                           if not isinstance(finder, switch._Finder)])
    compat.switch_on()
    assert 'allow_mmengine_checkpoints' in called
    before = len(called), len(sys.meta_path)
    compat.switch_on()
    assert before == (len(called), len(sys.meta_path))

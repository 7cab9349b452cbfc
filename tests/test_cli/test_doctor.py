import importlib.metadata
import re
import subprocess
import sys

import pytest

from clasp_mm import cli
from clasp_mm.cli import doctor

ACCEPTED = {
    'core': {'torch': '>=2.1,<2.15', 'torchvision': '>=0.16,<0.30', 'numpy': '>=1.23,<3',
             'setuptools': '<82', 'rich': '', 'mmpretrain': '>=1.2.0,<1.3'},
    'clip': {'open_clip_torch': '>=3.0,<4', 'timm': '>=1.0.21'},
    'hosts': {'mmcv-lite': '>=2.1.0,<2.2', 'mmdet': '>=3.3.0,<3.4', 'mmpose': '>=1.3.2,<1.4',
              'mmsegmentation': '>=1.2.2,<1.3'},
    'host_needs': {'six': ''},
}
CORE = {'torch': '2.13.0', 'torchvision': '0.28.0', 'numpy': '1.26.4', 'setuptools': '81.0.0',
        'rich': '15.0.0', 'mmpretrain': '1.2.0', 'mmcv-lite': '2.1.0', 'open_clip_torch': '3.3.0',
        'timm': '1.0.22'}
HOSTS = {'mmdet': '3.3.0', 'mmpose': '1.3.2', 'mmsegmentation': '1.2.2', 'six': '1.17.0'}


def diagnose(versions: dict[str, str]) -> doctor.Diagnosis:
    return doctor.diagnose(ACCEPTED, versions)


def usable(diagnosis: doctor.Diagnosis) -> set[str]:
    return {part for part, faults in diagnosis.faults.items() if not faults}


def test_core_set_pretrains_and_labels_but_has_no_hosts():
    diagnosis = diagnose(CORE)
    assert usable(diagnosis) == {'pretraining', 'pseudo-labels with CLIP'}
    ((purpose, command),) = diagnosis.cures
    assert purpose == 'for pose, detection and parsing'
    assert command.endswith(' -m clasp_mm install')


@pytest.mark.parametrize('mmcv', ['mmcv', 'mmcv-lite'])
def test_either_mmcv_serves_all(mmcv):
    diagnosis = diagnose({**{k: v for k, v in CORE.items() if k != 'mmcv-lite'}, **HOSTS,
                          mmcv: '2.1.0'})
    assert usable(diagnosis) == {part.name for part in doctor.PARTS}
    assert diagnosis.cures == []


def test_both_mmcv_are_a_conflict_for_everything():
    diagnosis = diagnose({**CORE, **HOSTS, 'mmcv': '2.1.0'})
    assert usable(diagnosis) == set()
    assert diagnosis.packages['mmcv'].state == 'conflict'
    ((purpose, command),) = diagnosis.cures
    assert 'pretraining' in purpose and command.endswith(' -m clasp_mm install')


@pytest.mark.parametrize(('package', 'version', 'remedy'), [
    ('numpy', '3.0.0', "'numpy>=1.23,<3'"),
    ('setuptools', '82.0.0', "'setuptools<82'"),
    ('torch', '2.15.0', "'torch>=2.1,<2.15'"),
    ('torch', '2.0.1', "'torch>=2.1,<2.15'"),
])
def test_a_version_outside_is_named_with_its_pip_line(package, version, remedy):
    diagnosis = diagnose({**CORE, package: version})
    assert usable(diagnosis) == set()
    assert diagnosis.packages[package].state == 'outside'
    assert diagnosis.faults['pretraining'] == [package]
    assert remedy in diagnosis.cures[0][1]


@pytest.mark.parametrize(('package', 'version', 'parts'), [
    ('mmdet', '3.2.0', {'pose estimation', 'detection, person search'}),
    ('mmdet', '3.4.0', {'pose estimation', 'detection, person search'}),
    ('mmsegmentation', '1.1.2', {'human parsing'}),
    ('mmpose', '2.0.0', {'pose estimation'})])
def test_a_host_too_old_or_too_new_is_named_and_what_needs_it(package, version, parts):
    diagnosis = diagnose({**CORE, **HOSTS, package: version})
    assert diagnosis.packages[package].state == 'outside'
    assert {part for part, faults in diagnosis.faults.items() if faults == [package]} == parts
    assert usable(diagnosis) == {part.name for part in doctor.PARTS} - parts
    ((_, command),) = diagnosis.cures
    assert command.endswith(' -m clasp_mm install')


def test_local_and_pre_release_builds_in_the_range_are_accepted():
    for version in ('2.13.0+cpu', '2.11.0+cu130', '2.9.0a0+gitabc'):
        assert diagnose({**CORE, 'torch': version}).packages['torch'].state == 'ok'


@pytest.mark.parametrize('name, spec', ACCEPTED['clip'].items())
def test_clip_missing_leaves_pretraining_usable(name, spec):
    diagnosis = diagnose({**CORE, **HOSTS} | {name: '0.9.0'})
    assert 'pseudo-labels with CLIP' not in usable(diagnosis) >= {'pretraining'}
    ((purpose, command),) = diagnosis.cures
    assert purpose == 'for pseudo-labels with CLIP' and f"'{name}{spec}'" in command


def test_cures_install_what_they_say():
    """Whatever is missing, following the cures for pretraining makes pretraining usable."""
    for missing in set(CORE) - set(ACCEPTED['clip']):
        versions = {name: version for name, version in CORE.items() if name != missing}
        lines = [command for purpose, command in diagnose(versions).cures
                 if purpose.startswith('for pretraining')]
        line = 'clasp_mm install' if missing == 'mmcv-lite' else missing
        assert any(line in command for command in lines), missing


@pytest.mark.parametrize(('torch_version', 'pair'), [
    ('2.13.0+cpu', ('torch===2.13.0', 'torchvision===0.28.0')),
    ('2.1.2', ('torch===2.1.2', 'torchvision===0.16.2')),
])
def test_torchvision_of_another_torch_is_replaced_by_its_own(torch_version, pair):
    line = doctor.torch_pair_cure(torch_version)
    assert all(name in line for name in pair)


def report(monkeypatch, capsys, versions, probe, *options) -> tuple[int, str]:
    monkeypatch.setattr(doctor, 'accepted_versions', lambda: ACCEPTED)
    monkeypatch.setattr(doctor, 'installed_versions', lambda names: versions)
    monkeypatch.setattr(doctor, 'probe', probe)
    monkeypatch.setenv('COLUMNS', '200')
    code = cli.main(['doctor', *options])
    return code, capsys.readouterr().out


def working(code: str) -> tuple[bool, str]:
    return True, '{"gpus": ["H200", "H200"], "bf16": true}' if 'json' in code else ''


def test_report_of_a_working_machine(monkeypatch, capsys):
    code, text = report(monkeypatch, capsys, CORE, working)
    assert code == 0
    assert '2 x H200, bf16 yes' in text
    assert 'mmpose missing' in text


def test_exit_code_tells_that_pretraining_is_broken(monkeypatch, capsys):
    def broken_models(code):
        return working(code) if 'clasp_mm.models' not in code else (False, 'ImportError: libx.so')

    code, text = report(monkeypatch, capsys, CORE, broken_models)
    assert code == 1
    assert 'ImportError: libx.so' in text


def test_torch_and_torchvision_that_do_not_match(monkeypatch, capsys):
    def mismatch(code):
        return (False, 'RuntimeError: operator torchvision::nms does not exist'
                ) if 'nms' in code else (True, '')

    code, text = report(monkeypatch, capsys, CORE, mismatch)
    assert code == 1
    assert 'operator torchvision::nms does not exist' in text
    assert '--force-reinstall torch===2.13.0 torchvision===0.28.0' in text


def test_report_says_whose_operators_serve(monkeypatch, capsys):
    def probe(code):
        works, line = working(code)
        return works, line or ("operators on cpu: clasp_mm's" if 'prove_host' in code else '')

    code, text = report(monkeypatch, capsys, {**CORE, **HOSTS}, probe, '--all')
    assert code == 0
    assert len(re.findall("operators on cpu: clasp_mm's", text)) == 3
    assert 'what to run' not in text


def test_all_asks_for_every_part(monkeypatch, capsys):
    assert report(monkeypatch, capsys, CORE, working)[0] == 0
    assert report(monkeypatch, capsys, CORE, working, '--all')[0] == 1


def test_conflict_is_named(monkeypatch, capsys):
    code, text = report(monkeypatch, capsys, {**CORE, **HOSTS, 'mmcv': '2.1.0'}, working)
    assert code == 1
    assert 'mmcv and mmcv-lite are both installed' in text


def test_probe_survives_what_it_imports():
    assert doctor.probe('print("fine")') == (True, 'fine')
    works, line = doctor.probe('import os; os.abort()')
    assert not works and line
    works, line = doctor.probe('import no_such_module_at_all')
    assert not works and 'no_such_module_at_all' in line


@pytest.mark.parametrize(('error', 'said'), [
    (importlib.metadata.PackageNotFoundError('clasp_mm'),
     r'clasp doctor: clasp_mm runs from .* but is not installed: .*pip install -e '),
    (ModuleNotFoundError(name='packaging'),
     r'clasp doctor: packaging is missing, which the doctor itself needs: .*packaging')])
def test_what_the_doctor_itself_lacks_is_one_line_and_1(monkeypatch, capsys, error, said):
    def missing(name):
        raise error

    monkeypatch.setattr(doctor.metadata, 'version', missing)
    assert cli.main(['doctor']) == 1
    line, = capsys.readouterr().err.splitlines()
    assert re.match(said, line)


def test_unknown_command_names_the_known_ones(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(['docto'])
    assert stop.value.code == 2
    assert 'doctor' in capsys.readouterr().err


def test_a_missing_package_leads_to_the_doctor(monkeypatch):
    import clasp_mm

    def missing(name):
        raise ModuleNotFoundError("No module named 'mmcv'", name='mmcv')

    monkeypatch.setattr(clasp_mm, 'import_module', missing)
    with pytest.raises(ModuleNotFoundError, match=r'clasp_mm\.get_model needs .*mmcv.*doctor'):
        getattr(clasp_mm, 'get_model')  # noqa: B009
    with pytest.raises(AttributeError, match='get_modle'):
        getattr(clasp_mm, 'get_modle')  # noqa: B009


@pytest.mark.slow
def test_doctor_of_this_very_environment():
    done = subprocess.run([sys.executable, '-m', 'clasp_mm', 'doctor'], capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert importlib.metadata.version('torch') in done.stdout


@pytest.mark.parametrize(('there', 'devices'), [(False, ['cpu']), (True, ['cpu', 'cuda'])])
def test_operators_are_proved_on_the_gpu_where_there_is_one(monkeypatch, there, devices):
    proved = []
    monkeypatch.setattr('torch.cuda.is_available', lambda: there)
    monkeypatch.setattr(doctor, '_prove_ops_on', proved.append)
    assert doctor.prove_ops() == proved == devices


def test_operators_that_do_not_work_are_found(monkeypatch):
    ops = pytest.importorskip('mmcv.ops')
    doctor._prove_ops_on('cpu')

    def no_cuda(*_):
        raise RuntimeError('roi_align_forward_impl: implementation for device cuda:0 not found.')

    wrong = r"nms or RoIAlign of clasp_mm's are wrong on cpu$"
    for name, function, used, said in (
            ('nms', lambda boxes, scores, _: (boxes, scores.argsort()), "clasp_mm's", wrong),
            ('roi_align', lambda ramp, *_: ramp.mean(), "clasp_mm's", wrong),
            ('roi_align', no_cuda, 'compiled mmcv', r'of compiled mmcv do not work \(roi_align.*'
             r'not found\.\) on cpu; `pip uninstall mmcv`, then `clasp install`')):
        with monkeypatch.context() as patch:
            patch.setattr(ops, name, function)
            patch.setattr('clasp_mm.compat.operators_in_use', lambda used=used: used)
            with pytest.raises(RuntimeError, match=said):
                doctor._prove_ops_on('cpu')


def test_each_host_says_what_serves_it():
    pytest.importorskip('mmpose')
    works, line = doctor.probe(next(part.probe for part in doctor.PARTS if 'pose' in part.name))
    assert works and re.match(r"operators on cpu.*: (compiled mmcv|clasp_mm's).*; scores: ", line)

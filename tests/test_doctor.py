import importlib.metadata
import subprocess
import sys

import pytest

from clasp_mm import cli, doctor

REQUIRES = [
    'torch<2.14,>=2.1', 'torchvision<0.29,>=0.16', 'numpy<2,>=1.23', 'setuptools<82', 'rich',
    'mmpretrain<1.3,>=1.2.0',
    'mmcv-lite<2.2,>=2.1.0; extra == "lite"', 'open_clip_torch<4,>=3.0; extra == "clip"',
    'mmcv<2.2,>=2.1.0; extra == "pose"', 'mmdet<3.4,>=3.3.0; extra == "pose"',
    'mmpose<1.4,>=1.3.2; extra == "pose"',
    'mmcv<2.2,>=2.1.0; extra == "det"', 'mmdet<3.4,>=3.3.0; extra == "det"',
    'mmcv<2.2,>=2.1.0; extra == "seg"', 'mmsegmentation<1.3,>=1.2.2; extra == "seg"',
    'pytest; extra == "tests"',
]
CORE = {'torch': '2.13.0', 'torchvision': '0.28.0', 'numpy': '1.26.4', 'setuptools': '81.0.0',
        'rich': '15.0.0', 'mmpretrain': '1.2.0', 'mmcv-lite': '2.1.0', 'open_clip_torch': '3.3.0'}
HOSTS = {'mmcv': '2.1.0', 'mmdet': '3.3.0', 'mmpose': '1.3.2', 'mmsegmentation': '1.2.2'}


@pytest.fixture
def accepted():
    return doctor.accepted_versions(REQUIRES)


def usable(diagnosis: doctor.Diagnosis) -> set[str]:
    return {part for part, faults in diagnosis.faults.items() if not faults}


def test_requirements_are_grouped_by_extra(accepted):
    assert accepted['']['torch'] == '>=2.1,<2.14'
    assert accepted['pose'].keys() == {'mmcv', 'mmdet', 'mmpose'}
    assert not any('pytest' in group for group in accepted.values())


def test_core_set_pretrains_and_labels_but_has_no_hosts(accepted):
    diagnosis = doctor.diagnose(accepted, CORE)
    assert usable(diagnosis) == {'pretraining', 'pseudo-labels with CLIP'}
    ((purpose, command),) = diagnosis.cures
    assert 'pose' in purpose
    # the compiled mmcv replaces mmcv-lite, its build tools come first
    assert command.index('ninja') < command.index('uninstall -y mmcv-lite') < command.index(
        "--no-build-isolation 'mmcv>=2.1.0,<2.2'")
    assert "'mmpose>=1.3.2,<1.4'" in command


def test_whole_set_needs_no_mmcv_lite(accepted):
    versions = {**CORE, **HOSTS}
    del versions['mmcv-lite']
    diagnosis = doctor.diagnose(accepted, versions)
    assert usable(diagnosis) == {part.name for part in doctor.PARTS}
    assert diagnosis.cures == []


def test_both_mmcv_are_a_conflict_for_everything(accepted):
    diagnosis = doctor.diagnose(accepted, {**CORE, **HOSTS})
    assert usable(diagnosis) == set()
    assert diagnosis.packages['mmcv'].state == 'conflict'
    cures = dict(diagnosis.cures)
    assert all('uninstall -y mmcv-lite mmcv' in command for command in cures.values())
    assert 'mmcv-lite>=2.1.0' in cures['for pretraining, with mmcv-lite']


@pytest.mark.parametrize(('package', 'version', 'remedy'), [
    ('numpy', '2.4.6', "'numpy>=1.23,<2'"),
    ('setuptools', '82.0.0', "'setuptools<82'"),
    ('torch', '2.14.0', "'torch>=2.1,<2.14'"),
    ('torch', '2.0.1', "'torch>=2.1,<2.14'"),
])
def test_a_version_outside_is_named_with_its_pip_line(accepted, package, version, remedy):
    diagnosis = doctor.diagnose(accepted, {**CORE, package: version})
    assert usable(diagnosis) == set()
    assert diagnosis.packages[package].state == 'outside'
    assert diagnosis.faults['pretraining'] == [package]
    assert remedy in diagnosis.cures[0][1]


def test_local_and_pre_release_builds_in_the_range_are_accepted(accepted):
    for version in ('2.13.0+cpu', '2.11.0+cu130', '2.9.0a0+gitabc'):
        assert doctor.diagnose(accepted, {**CORE, 'torch': version}).packages['torch'].state == 'ok'


def test_clip_missing_leaves_pretraining_usable(accepted):
    versions = {name: version for name, version in CORE.items() if name != 'open_clip_torch'}
    diagnosis = doctor.diagnose(accepted, versions)
    assert usable(diagnosis) == {'pretraining'}
    assert "'open_clip_torch>=3.0,<4'" in diagnosis.cures[0][1]


def test_cures_install_what_they_say(accepted):
    """Whatever is missing, following the cures for pretraining makes pretraining usable."""
    for missing in CORE:
        versions = {name: version for name, version in CORE.items() if name != missing}
        lines = [command for purpose, command in doctor.diagnose(accepted, versions).cures
                 if purpose.startswith('for pretraining')]
        assert any(missing in line for line in lines), missing


@pytest.mark.parametrize(('torch_version', 'pair'), [
    ('2.13.0+cpu', ("'torch===2.13.0'", "'torchvision===0.28.0'")),
    ('2.1.2', ("'torch===2.1.2'", "'torchvision===0.16.2'")),
])
def test_torchvision_of_another_torch_is_replaced_by_its_own(torch_version, pair):
    line = doctor.torch_pair_cure(torch_version)
    assert all(name in line for name in pair)


def report(monkeypatch, capsys, versions, probe) -> tuple[int, str]:
    monkeypatch.setattr(importlib.metadata, 'requires', lambda name: REQUIRES)
    monkeypatch.setattr(doctor, 'installed_versions', lambda names: versions)
    monkeypatch.setattr(doctor, 'probe', probe)
    monkeypatch.setenv('COLUMNS', '200')
    code = cli.main(['doctor'])
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
    assert "--force-reinstall 'torch===2.13.0' 'torchvision===0.28.0'" in text


def test_conflict_is_named(monkeypatch, capsys):
    code, text = report(monkeypatch, capsys, {**CORE, **HOSTS}, working)
    assert code == 1
    assert 'mmcv and mmcv-lite are both installed' in text


def test_probe_survives_what_it_imports():
    assert doctor.probe('print("fine")') == (True, 'fine')
    works, line = doctor.probe('import os; os.abort()')
    assert not works and line
    works, line = doctor.probe('import no_such_module_at_all')
    assert not works and 'no_such_module_at_all' in line


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
def test_compiled_ops_are_proved_on_the_gpu_where_there_is_one(monkeypatch, there, devices):
    proved = []
    monkeypatch.setattr('torch.cuda.is_available', lambda: there)
    monkeypatch.setattr(doctor, '_prove_ops_on', proved.append)
    doctor.prove_ops()
    assert proved == devices
    doctor.prove_ops('cpu')
    assert proved == [*devices, 'cpu']


def test_compiled_ops_that_do_not_work_are_found(monkeypatch):
    ops = pytest.importorskip('mmcv.ops')
    doctor.prove_ops('cpu')
    with pytest.raises((RuntimeError, NotImplementedError)):
        doctor.prove_ops('meta')  # as a GPU is to a build without CUDA
    for name, wrong in (('nms', lambda boxes, scores, _: (boxes, scores.argsort())),
                        ('roi_align', lambda ramp, *_: ramp.mean())):
        with monkeypatch.context() as patch:
            patch.setattr(ops, name, wrong)
            with pytest.raises(RuntimeError, match='nms or RoIAlign is wrong on cpu'):
                doctor.prove_ops('cpu')

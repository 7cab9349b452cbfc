"""Weights from the Hugging Face hub, for which a server on the loopback address stands in."""

import io
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save

import clasp_mm
from clasp_mm.models import PCMoESwin
from clasp_mm.models.weights.find import find_weights
from clasp_mm.models.weights.mmengine_reader import load_from_clasp_mm
from tests.hub_stand_in import TOKEN, commit, hub_stand_in

ARCH = dict(arch=dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2)), strides=(4, 2),
            out_indices=(1, ), window_size=4, task='part')
STATE = {key: value for key, value in PCMoESwin(**ARCH, moe=None).state_dict().items()}
SAFE = save(STATE)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with hub_stand_in(tmp_path, monkeypatch) as server:
        server.repos['timm/swin'] = {'config.json': b'{}', 'pytorch_model.bin': b'never read',
                                     'model.safetensors': SAFE}
        yield server


def torch_file(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


class Evil:
    def __reduce__(self):
        return os.mkdir, ('evil', )


def test_a_backbone_starts_from_a_repository_with_a_neutral_moe(hub):
    model = PCMoESwin(**ARCH, init_cfg=dict(type='Pretrained', checkpoint='hf-hub:timm/swin'))
    model.init_weights()
    for key, value in STATE.items():
        assert torch.equal(model.state_dict()[key], value), key
    plain, image = PCMoESwin(**ARCH, moe=None).eval(), torch.randn(1, 3, 32, 16)
    plain.load_state_dict(STATE)
    torch.testing.assert_close(model.eval()(image), plain(image))
    assert hub.fetched == ['model.safetensors'], 'nothing else'
    assert load_from_clasp_mm('hf-hub:timm/swin').keys() == STATE.keys(), "as MMEngine's load_from"


def test_a_model_of_a_config_takes_them(hub, tmp_path):
    (tmp_path / 'config.py').write_text(
        f"model = dict(backbone=dict(type='clasp_mm.PCMoESwin', **{ARCH!r}))")
    model = clasp_mm.get_model(tmp_path / 'config.py', 'hf-hub:timm/swin')
    assert torch.equal(model.norm1.weight, STATE['norm1.weight'])
    with pytest.raises(ValueError, match=r'no published model of clasp_mm.*pretrained='):
        clasp_mm.get_model('hf-hub:timm/swin')


def test_kept_files_are_not_fetched_again_and_serve_offline(hub, monkeypatch):
    path = find_weights('hf-hub:timm/swin')
    revision = commit(hub.repos['timm/swin'])
    assert find_weights('hf-hub:timm/swin') == find_weights(f'hf-hub:timm/swin@{revision}') == path
    for name, value in dict(ENDPOINT='http://127.0.0.1:9', HUGGINGFACE_CO_URL_TEMPLATE=(
            'http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}')).items():
        monkeypatch.setattr(f'huggingface_hub.constants.{name}', value)
    assert find_weights('hf-hub:timm/swin') == find_weights('hf-hub:timm/swin@main') == path
    assert hub.fetched == ['model.safetensors']
    with pytest.raises(FileNotFoundError, match=r'cannot fetch hf-hub:timm/swan from '
                       r'http://127.0.0.1:9/timm/swan \(ConnectError: .*'
                       r'connected machine \(hf download timm/swan\) and name the local file'):
        find_weights('hf-hub:timm/swan')
    path.write_bytes(SAFE[:-1] + b'\x01')
    with pytest.raises(ValueError, match=r'model.safetensors of hf-hub:timm/swin has hash'):
        find_weights('hf-hub:timm/swin')


@pytest.mark.parametrize('files, chosen', [
    ({'pytorch_model.bin': b'x', 'x.pth': b'x'}, 'pytorch_model.bin'),
    ({'own.safetensors': b'x', 'x.pth': b'x', 'y.pth': b'x'}, 'own.safetensors'),
    ({'README.md': b'x', 'solider.pth': b'x', 'sub/other.pth': b'x'}, 'solider.pth')])
def test_the_file_of_a_repository(hub, files, chosen):
    hub.repos['me/mine'] = files
    assert find_weights('hf-hub:me/mine').name == chosen and hub.fetched == [chosen]


def test_repositories_that_tell_no_file(hub):
    hub.repos['me/two'] = {'a.pth': b'', 'b.pth': b''}
    with pytest.raises(ValueError, match=r'2 files of weights, a.pth, b.pth: fetch one '
                       r'\(hf download me/two a.pth\)'):
        find_weights('hf-hub:me/two')
    hub.repos['me/none'] = {'README.md': b''}
    with pytest.raises(FileNotFoundError, match=r'holds no file of weights .*README.md'):
        find_weights('hf-hub:me/none')


def test_a_torch_file_runs_no_code(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hub.repos['me/fair'] = {'pytorch_model.bin': torch_file(dict(STATE))}
    assert load_from_clasp_mm('hf-hub:me/fair').keys() == STATE.keys()
    hub.repos['me/evil'] = {'pytorch_model.bin': torch_file(dict(x=Evil()))}
    with pytest.raises(ValueError, match=r'pytorch_model.bin'):
        load_from_clasp_mm('hf-hub:me/evil')
    assert not (tmp_path / 'evil').exists()


@pytest.mark.parametrize('source, message', [
    ('hf-hub:timm/swan', 'there is no such repository, or it is private: .*HF_TOKEN'),
    ('hf-hub:timm/swin@v9', 'no such revision'),
    ('hf-hub:me/gated', r'cannot fetch model.safetensors of hf-hub:me/gated .*gated: ask for')])
def test_what_is_not_to_be_had(hub, source, message):
    hub.repos['me/gated'] = {'model.safetensors': SAFE}
    hub.gated.add('me/gated')
    with pytest.raises(FileNotFoundError, match=message) as error:
        find_weights(source)
    assert hub.base in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('source', ['hf-hub:swin', 'hf-hub:a/b/c', 'hf-hub:../x', 'hf-hub:a/b@'])
def test_other_forms_are_refused(hub, source):
    with pytest.raises((ValueError, FileNotFoundError), match=r'OWNER/NAME|cannot fetch'):
        find_weights(source)


def test_who_is_logged_in_has_the_gated(hub, monkeypatch):
    hub.repos['me/gated'], hub.gated = {'model.safetensors': SAFE}, {'me/gated'}
    monkeypatch.setenv('HF_TOKEN', TOKEN)
    assert find_weights('hf-hub:me/gated').read_bytes() == SAFE


def test_half_a_file_and_other_bytes_are_thrown_away(hub):
    hub.spoil = lambda data: data[:len(data) // 2]
    with pytest.raises(FileNotFoundError, match=r'cannot fetch model\.safetensors of .*'
                       rf'Consistency check failed.*size {len(SAFE)}.*try again'):
        find_weights('hf-hub:timm/swin')
    hub.spoil = lambda data: data[:-1] + b'\x01'
    with pytest.raises(ValueError, match=r'the hub says .*thrown away; try again'):
        find_weights('hf-hub:timm/swin')
    hub.spoil = bytes
    assert find_weights('hf-hub:timm/swin').read_bytes() == SAFE


def test_the_hub_is_that_of_the_environment(hub, tmp_path):
    script = ("from clasp_mm.models.weights.find import find_weights; "
              "print(find_weights('hf-hub:timm/swin'))")
    environment = {**os.environ, 'HF_ENDPOINT': hub.base, 'HF_HOME': str(tmp_path / 'home')}
    for offline in ('0', '1'):
        done = subprocess.run([sys.executable, '-W', 'ignore', '-c', script], text=True,
                              capture_output=True, env={**environment, 'HF_HUB_OFFLINE': offline})
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.strip().startswith(str(tmp_path / 'home'))
    assert hub.fetched == ['model.safetensors']

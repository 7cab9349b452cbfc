import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from clasp_mm.pseudo_labels.clip_model import build_clip, state_digest


def test_local_files_give_open_clips_own_embeddings(tiny_clip):
    import open_clip
    clip = build_clip(**tiny_clip)
    model, _, preprocess = open_clip.create_model_and_transforms(
        'tiny_test_clip', pretrained=tiny_clip['pretrained'])
    model.eval()
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    with torch.no_grad():
        want = F.normalize(model.encode_image(preprocess(Image.fromarray(image))[None]), dim=-1)
        got = clip.encode_images(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
        tokens = open_clip.get_tokenizer('tiny_test_clip')(['a hat', 'a shoe'])
        texts = F.normalize(model.encode_text(tokens), dim=-1)
    assert torch.allclose(got, want, atol=1e-5)
    mean = F.normalize(texts.mean(dim=0), dim=-1)
    assert torch.allclose(clip.encode_texts(['a hat', 'a shoe']), mean, atol=1e-5)
    assert clip.logit_scale == pytest.approx(1 / 0.07)
    assert clip.size == (32, 32)


def test_identity_follows_the_weights(tiny_clip, tmp_path):
    clip = build_clip(**tiny_clip)
    assert clip.identity == build_clip(**tiny_clip).identity
    state = torch.load(tiny_clip['pretrained'], weights_only=True)
    state['logit_scale'] += 1e-6
    torch.save(state, tmp_path / 'other.pt')
    other = build_clip(tiny_clip['name'], str(tmp_path / 'other.pt'))
    assert clip.identity.startswith('tiny_test_clip-') and other.identity != clip.identity
    assert state_digest(clip.model) == clip.identity.rpartition('-')[2]


def test_local_dir(tiny_clip, tmp_path):
    architecture = json.loads(Path(tiny_clip['name']).read_text())
    (tmp_path / 'open_clip_config.json').write_text(json.dumps(dict(
        model_cfg=architecture, preprocess_cfg=dict(mean=[0.5] * 3, std=[0.5] * 3))))
    state = torch.load(tiny_clip['pretrained'], weights_only=True)
    torch.save(state, tmp_path / 'open_clip_pytorch_model.bin')
    clip = build_clip(f'local-dir:{tmp_path}', None)
    assert clip.mean == (0.5, 0.5, 0.5)
    assert clip.identity.rpartition('-')[2] == build_clip(**tiny_clip).identity.rpartition('-')[2]
    with pytest.raises(ValueError, match='brings its own weights'):
        build_clip(f'local-dir:{tmp_path}', 'openai')


def test_unreachable_weights_say_what_to_fetch(monkeypatch):
    import open_clip

    def offline(*args, **kwargs):
        raise OSError('no route to host')

    monkeypatch.setattr(open_clip.factory, 'download_pretrained', offline)
    with pytest.raises(FileNotFoundError) as error:
        build_clip('ViT-B-32', 'openai')
    for word in ('huggingface.co/timm/vit_base_patch32_clip_224.openai', '--clip-pretrained',
                 'ViT-B-32-quickgelu'):
        assert word in str(error.value)


@pytest.mark.parametrize(('name', 'pretrained', 'error', 'message'), [
    ('ViT-B32', 'openai', ValueError, "near: ViT-B-32"),
    ('ViT-B-32', 'opnai', ValueError, "did you mean 'openai'"),
    ('ViT-B-32', 'weights.pt', FileNotFoundError, "no CLIP weights file at 'weights.pt'"),
    ('ViT-B-32', None, ValueError, 'need trained weights'),
    ('nowhere.json', 'x.pt', FileNotFoundError, 'no CLIP architecture file'),
])
def test_wrong_names(name, pretrained, error, message):
    with pytest.raises(error) as caught:
        build_clip(name, pretrained)
    assert message in str(caught.value)


def test_wrong_local_files(tiny_clip, tmp_path):
    (tmp_path / 'ViT-B-32.json').write_text(Path(tiny_clip['name']).read_text())
    with pytest.raises(ValueError, match=r'another model named .ViT-B-32.; rename'):
        build_clip(str(tmp_path / 'ViT-B-32.json'), tiny_clip['pretrained'])
    (tmp_path / 'half.json').write_text('{"embed_dim": 16}')
    with pytest.raises(ValueError, match=r"lacks \['text_cfg', 'vision_cfg'\]"):
        build_clip(str(tmp_path / 'half.json'), tiny_clip['pretrained'])
    torch.save({'something': torch.zeros(1)}, tmp_path / 'else.pt')
    with pytest.raises(ValueError, match='cannot load CLIP'):
        build_clip(tiny_clip['name'], str(tmp_path / 'else.pt'))

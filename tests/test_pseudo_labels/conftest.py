import json

import pytest
import torch


@pytest.fixture(scope='session')
def tiny_clip(tmp_path_factory):
    """Arguments of build_clip for a small untrained open_clip model in local files."""
    import open_clip
    folder = tmp_path_factory.mktemp('clip')
    architecture = dict(
        embed_dim=16,
        vision_cfg=dict(image_size=32, patch_size=8, layers=1, width=32, head_width=16),
        text_cfg=dict(context_length=16, vocab_size=49408, width=16, heads=2, layers=1))
    path = folder / 'tiny_test_clip.json'
    path.write_text(json.dumps(architecture))
    torch.manual_seed(0)
    model = open_clip.model.CLIP(**architecture)
    torch.save(model.state_dict(), folder / 'weights.pt')
    return dict(name=str(path), pretrained=str(folder / 'weights.pt'))

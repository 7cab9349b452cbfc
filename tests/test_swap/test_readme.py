"""The configs printed in the README build, take the weights and run."""

import re

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope, init_default_scope

from clasp_mm.engine.config_check import check_config
from clasp_mm.models import PCMoESwin
from tests.source_tree import ROOT

pytest.importorskip('mmpose', reason='needs mmpose: bash tools/setup.sh')

SECTION = (ROOT / 'README.md').read_text().split('## One line in each host')[1].split('\n## ')[0]
BLOCKS = re.findall(r'```python\n(.*?)```', SECTION, re.DOTALL)
# What the head gives for an image of 256x192.
SHAPES = dict(
    mmpose=lambda out: out.shape == (1, 17, 64, 48),
    mmdet=lambda out: [tuple(level.shape[2:]) for level in out[0]] == [
        (64, 48), (32, 24), (16, 12), (8, 6), (4, 3)],
    mmseg=lambda out: out.shape == (1, 150, 64, 48),
    mmpretrain=lambda out: out.shape == (1, 1000))


def test_every_host_has_a_block_of_six_lines():
    assert [re.match(r"_base_ = '(\w+)::", block)[1] for block in BLOCKS] == [
        'mmpose', 'mmdet', 'mmseg', 'mmpretrain']
    assert all(len(block.strip().splitlines()) <= 6 for block in BLOCKS)


@pytest.mark.parametrize('block', BLOCKS, ids=lambda block: block[10:block.index('::')])
def test_block(block, tmp_path):
    (tmp_path / 'config.py').write_text(block)
    cfg = Config.fromfile(tmp_path / 'config.py')
    assert 'clasp_mm' in cfg.custom_imports.imports
    check_config(cfg)
    assert cfg.model.backbone.pop('init_cfg').type == 'clasp_mm.Pretrained'
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    DefaultScope._instance_dict.clear()
    assert isinstance(model.backbone, PCMoESwin)
    # the heads take the maps: channels and number fit
    head = dict(mmdet='rpn_head', mmseg='decode_head').get(cfg.default_scope, 'head')
    model.eval()
    out = getattr(model, head)(model.extract_feat(torch.zeros(1, 3, 256, 192, device='meta')))
    assert SHAPES[cfg.default_scope](out)

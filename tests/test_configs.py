from pathlib import Path

import pytest
from mmengine.config import Config

from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY
from clasp_mm.registry import MODELS

ROOT = Path(__file__).parents[1] / 'configs'
CONFIGS = sorted(path for pattern in ('pretrain/*.py', 'quickstart/dino_*.py',
                                      'quickstart/clasp_*.py', 'quickstart/solider_*.py')
                 for path in ROOT.glob(pattern))


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_heads_fit_the_backbone_and_the_vocabulary(path):
    cfg = Config.fromfile(path)
    backbone = dict(cfg.model.backbone)
    if backbone['arch'] in ('small', 'base'):  # the widths are those of a shallow twin
        dims, heads = (96, (3, 6, 12, 24)) if backbone['arch'] == 'small' else (128, (4, 8, 16, 32))
        backbone['arch'] = dict(embed_dims=dims, depths=(1, 1, 1, 1), num_heads=heads)
    backbone = MODELS.build(backbone)
    channels = [backbone.num_features[i] for i in backbone.out_indices]
    assert cfg.model.head.in_channels == channels[-1]
    if cfg.model.type == 'clasp_mm.CLASP':
        part, attr = cfg.model.part_head, cfg.model.attr_head
        assert part.in_channels == channels[part.get('in_index', -1)]
        assert part.num_classes == len(DEFAULT_VOCABULARY.parts) + 1
        assert attr.in_channels == channels[-1]
        assert tuple(attr.attribute_sizes) == DEFAULT_VOCABULARY.attribute_sizes
        kinds = [step.type for step in cfg.train_dataloader.dataset.pipeline]
        assert kinds.index('clasp_mm.CLIPPseudoLabeler') < kinds.index('clasp_mm.MultiCrop')
    if cfg.model.type == 'clasp_mm.SOLIDER':
        part = cfg.model.part_head
        assert part.in_channels == channels[part.get('in_index', -1)] and part.num_classes == 4
        assert (cfg.model.foreground, cfg.model.min_foreground) == ('norm', 0.5)
        # the tokens that are clustered, 8x4 as published
        stage = backbone.out_indices[part.get('in_index', -1)]
        crops = next(step for step in cfg.train_dataloader.dataset.pipeline
                     if step.type == 'clasp_mm.MultiCrop')
        assert [side // 2**(stage + 2) for side in crops.global_size] == [8, 4]


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_schedules_cover_the_run_without_a_gap(path):
    cfg = Config.fromfile(path)
    warmup, cosine, decay = cfg.param_scheduler
    assert (warmup.begin, warmup.end) == (0, cosine.begin)
    assert cosine.end == decay.end == cfg.train_cfg.max_epochs
    assert cosine.T_max == cosine.end - cosine.begin and decay.begin == 0


def test_arches_and_batches_are_what_the_names_say():
    for path in (ROOT / 'pretrain').glob('*.py'):
        cfg = Config.fromfile(path)
        assert f'swin-{cfg.model.backbone.arch}_8xb{cfg.train_dataloader.batch_size}-' \
               f'{cfg.train_cfg.max_epochs}e_' in path.name
        subset = cfg.train_dataloader.dataset.get('num_images')
        assert ('luperson1m' in path.name) == (subset == 1_000_000)

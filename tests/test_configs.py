from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import PARAM_SCHEDULERS

from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY
from clasp_mm.registry import MODELS

ROOT = Path(__file__).parents[1] / 'configs'
CONFIGS = sorted(path for pattern in ('pretrain/*.py', 'quickstart/dino_*.py',
                                      'quickstart/clasp_*.py', 'quickstart/solider_*.py')
                 for path in ROOT.glob(pattern))


def test_every_config_imports_clasp_mm_for_the_hosts_own_tools():
    without = [path.name for path in ROOT.rglob('*.py') if '_base_' not in path.parts
               and not any(name.split('.')[0] == 'clasp_mm' for name in (Config.fromfile(
                   path, import_custom_modules=False).get('custom_imports') or {}).get(
                       'imports', ()))]
    assert not without


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


def test_schedules_have_dinos_values():
    """linspace(0, lr, warm-up) and final + (base - final) (1 + cos(pi i / n)) / 2, as in main_dino.

    With one iteration in an epoch: iterations 0 to 9 of 100 are the warm-up, 55 is the middle of
    the 90 after it, and 50 that of the weight decay, which has none.
    """
    cfg = Config.fromfile(ROOT / '_base_/schedules/dino_100e.py')
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=5e-4, weight_decay=.04)
    schedulers = [PARAM_SCHEDULERS.build(dict(step, optimizer=optimizer, epoch_length=1))
                  for step in cfg.param_scheduler]
    rows = []
    for _ in range(100):
        rows.append([optimizer.param_groups[0][name] for name in ('lr', 'weight_decay')])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    lr, decay = np.transpose(rows)
    assert lr[:10] == pytest.approx(np.linspace(0, 5e-4, 10), abs=6e-8)  # from 1e-4 lr
    assert lr[[9, 10, 55]] == pytest.approx([5e-4, 5e-4, (5e-4 + 1e-6) / 2])
    assert lr[99] == pytest.approx(1e-6 + 4.99e-4 * (1 + np.cos(np.pi * 89 / 90)) / 2)
    assert decay[[0, 50]] == pytest.approx([.04, .22])
    assert decay[99] == pytest.approx(.4 - .36 * (1 + np.cos(np.pi * 99 / 100)) / 2)


def test_arches_and_batches_are_what_the_names_say():
    for path in (ROOT / 'pretrain').glob('*.py'):
        cfg = Config.fromfile(path)
        assert f'swin-{cfg.model.backbone.arch}_8xb{cfg.train_dataloader.batch_size}-' \
               f'{cfg.train_cfg.max_epochs}e_' in path.name
        subset = cfg.train_dataloader.dataset.get('num_images')
        assert ('luperson1m' in path.name) == (subset == 1_000_000)

"""Fine-tuning under one task leaves the prompts of the others as they were."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

pytest.importorskip('mmpose', reason='needs mmpose: bash tools/setup.sh')

from clasp_mm.models import PCMoESwin
from clasp_mm.models.layers.tasks import task_weights
from tests.source_tree import ROOT

CONFIGS = sorted(path for family in (
    'pose', 'parsing', 'detection', 'reid', 'attribute', 'person_search') for path in [
    *(ROOT / 'configs' / family).glob('*.py'), *(ROOT / 'configs/quickstart').glob(f'{family}_*')])


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_the_recipe_moves_only_the_prompt_of_its_task(path):
    cfg = Config.fromfile(path)
    model = nn.Module()
    task = cfg.model.backbone.task
    used = task_weights(task)[0] > 0
    model.backbone = PCMoESwin(dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2)), task,
                               strides=(4, 2), window_size=4, out_indices=(1, ))
    for stage in model.backbone.stages:  # as after pretraining
        nn.init.normal_(stage.moe.prompt_fc.weight)
    before = [stage.moe.prompts.detach().clone() for stage in model.backbone.stages]
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    for _ in range(2):
        optimizer.update_params(model.backbone(torch.randn(2, 3, 32, 32))[0][..., 0].sum())
    for old, stage in zip(before, model.backbone.stages, strict=True):
        assert torch.equal(old[~used], stage.moe.prompts[~used])
        assert (old[used] != stage.moe.prompts[used]).any()

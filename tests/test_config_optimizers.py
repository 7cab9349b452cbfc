"""The tasks' configs: few optimizer groups, every parameter with the settings that it had alone."""

import pytest
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DefaultScope

from clasp_mm.engine.launch import load_config
from clasp_mm.registry import MODELS
from tests.source_tree import ROOT

CONFIGS = sorted(path for path in (ROOT / 'configs').glob('*/*.py')
                 if path.parent.name not in ('_base_', 'ablations', 'pretrain'))
OURS = 'clasp_mm.TrainableOptimWrapperConstructor'
MMENGINES = 'mmengine.DefaultOptimWrapperConstructor'
# The host's own setting, one group of one setting.
HOSTS = ('coco-256x192', 'crowdpose-256x192')


def settings_of(wrapper: OptimWrapper) -> dict[int, dict]:
    """Parameter -> all that its group says of it."""
    found = {}
    for group in wrapper.optimizer.param_groups:
        settings = {name: value for name, value in group.items()
                    if name not in ('params', 'fused')}
        for parameter in group['params']:
            assert id(parameter) not in found
            found[id(parameter)] = settings
    return found


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_a_group_for_each_setting_and_the_settings_of_mmengine(path):
    cfg = load_config(str(path))
    if path.stem.endswith(HOSTS):
        assert 'constructor' not in cfg.optim_wrapper and 'paramwise_cfg' not in cfg.optim_wrapper
        return
    assert cfg.optim_wrapper.constructor == OURS
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.device('meta'):
        model = MODELS.build(cfg.model)
        few, many = (build_optim_wrapper(model, dict(cfg.optim_wrapper, constructor=constructor))
                     for constructor in (OURS, MMENGINES))
    ours, theirs = settings_of(few), settings_of(many)
    trainable = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert trainable <= set(ours) and ours == {one: theirs[one] for one in ours}
    assert len(few.optimizer.param_groups) == len({str(one) for one in ours.values()}) <= 4
    assert type(few) is type(many) and few.clip_grad_kwargs == many.clip_grad_kwargs

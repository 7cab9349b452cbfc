"""Groups, fused optimizers and clipping: fewer launches, the same numbers."""

import copy

import pytest
import torch
from mmengine.optim import DefaultOptimWrapperConstructor, build_optim_wrapper
from mmengine.runner import Runner
from torch import nn

from clasp_mm.compat import allow_mmengine_checkpoints
from clasp_mm.engine.optim import clip_each_
from tests.test_engine.test_teacher_hook import make_config, people  # noqa: F401

PARAMWISE = dict(bias_decay_mult=0., norm_decay_mult=0., flat_decay_mult=0.,
                 custom_keys={'1.weight': dict(lr_mult=.5)})


def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 6),
                          nn.Linear(6, 2))
    model[4].requires_grad_(False)
    return model


def build(model, optimizer='AdamW', **settings):
    return build_optim_wrapper(model, dict(
        type='clasp_mm.DINOOptimWrapper', constructor='clasp_mm.TrainableOptimWrapperConstructor',
        optimizer=dict(type=optimizer, lr=.1, weight_decay=.2, **settings),
        paramwise_cfg=PARAMWISE))


def settings_of(groups, model):
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[p]: (group['lr'], group['weight_decay'])
            for group in groups for p in group['params'] if p.requires_grad}


def test_equal_settings_share_a_group_and_stay_those_of_mmengine():
    model = network()
    theirs = DefaultOptimWrapperConstructor(
        dict(optimizer=dict(type='AdamW', lr=.1, weight_decay=.2)), PARAMWISE)(model)
    ours = build(model)
    assert settings_of(ours.optimizer.param_groups, model) == settings_of(
        theirs.optimizer.param_groups, model)
    # Matrices; all vectors; the one of half the rate.
    assert [(group['lr'], group['weight_decay'], len(group['params']))
            for group in ours.optimizer.param_groups] == [(.1, .2, 2), (.1, 0., 5), (.05, .2, 1)]


def test_frozen_parameters_have_no_group_where_none_has_settings_of_its_own():
    wrapper = build_optim_wrapper(network(), dict(
        type='clasp_mm.DINOOptimWrapper', clip_grad=None, optimizer=dict(type='AdamW', lr=.1),
        constructor='clasp_mm.TrainableOptimWrapperConstructor'))
    group, = wrapper.optimizer.param_groups
    assert len(group['params']) == 8 and all(p.requires_grad for p in group['params'])


@pytest.mark.parametrize('optimizer, options', [
    ('AdamW', {}), ('Adam', {}), ('SGD', dict(momentum=.9))])
def test_fused_is_the_same_step(optimizer, options):
    """Also for a parameter without a gradient."""
    results = []
    for fused in ({}, dict(foreach=False)):
        model = network()
        wrapper = build(model, optimizer, **options, **fused)
        assert bool(wrapper.param_groups[0]['fused']) == (not fused)
        wrapper.frozen = [model[3].weight]
        for step in range(4):
            torch.manual_seed(step)
            wrapper.update_params(model(torch.randn(7, 3)).square().sum())
        results.append(model.state_dict())
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], rtol=1e-6, atol=1e-6)
    assert torch.equal(results[0]['3.weight'], network()[3].weight)


def test_a_scaler_leaves_an_overflowing_step_out():
    model = network()
    wrapper, scaler = build(model), torch.amp.GradScaler('cpu', init_scale=4.)
    before = copy.deepcopy(model.state_dict())
    for value in (float('inf'), 1.):
        scaler.scale(model(torch.full((2, 3), value)).square().sum()).backward()
        scaler.unscale_(wrapper.optimizer)
        wrapper._clip_grad()
        scaler.step(wrapper.optimizer)
        scaler.update()
        wrapper.zero_grad()
        moved = [not torch.equal(p, before[name]) for name, p in model.named_parameters()
                 if p.requires_grad]
        assert all(moved) if value == 1 else not any(moved)


def test_each_gradient_is_clipped_by_its_own_norm():
    values = ([3., 4.], [.3, .4], [0., 0.], None)  # norms 5, .5, 0
    parameters = [nn.Parameter(torch.zeros(2)) for _ in values]
    for parameter, value in zip(parameters, values, strict=True):
        parameter.grad = None if value is None else torch.tensor(value)
    clip_each_(parameters, 2.5)
    # 2.5 / 5 of the first; the others are within
    for parameter, value in zip(parameters, ([1.5, 2.], *values[1:]), strict=True):
        if value is None:
            assert parameter.grad is None
        else:
            torch.testing.assert_close(parameter.grad, torch.tensor(value))


def test_a_checkpoint_of_one_group_a_parameter_is_refused(people, tmp_path):  # noqa: F811
    allow_mmengine_checkpoints()
    hooks = {'custom_hooks': [dict(type='clasp_mm.ExactResumeHook'),
                              dict(type='clasp_mm.TeacherHook')],
             'train_dataloader.sampler.type': 'clasp_mm.ResumableSampler'}
    runner = Runner.from_cfg(make_config(people, tmp_path / 'run', **hooks, **{
        'train_cfg.max_epochs': 1,
        'optim_wrapper.constructor': 'mmengine.DefaultOptimWrapperConstructor'}))
    runner.train()
    count = len(runner.optim_wrapper.optimizer.param_groups)
    cfg = make_config(people, tmp_path / 'run', resume=True, **hooks)
    cfg.experiment_name += '_again'
    with pytest.raises(ValueError, match=rf'has {count} groups of {count} parameters, this one 1 '
                       rf'of {count}.*load_from'):
        Runner.from_cfg(cfg).train()
